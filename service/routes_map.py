"""Routes of map; being written."""

from fastapi import APIRouter

router = APIRouter()
