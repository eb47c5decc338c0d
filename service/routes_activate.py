"""Routes of activate; being written."""

from fastapi import APIRouter

router = APIRouter()
