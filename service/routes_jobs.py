"""Routes of jobs; being written."""

from fastapi import APIRouter

router = APIRouter()
