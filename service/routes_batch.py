"""Routes of batch; being written."""

from fastapi import APIRouter

router = APIRouter()
