"""GET /docs: the API's documentation by Swagger UI, served from here and working offline."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.routes.page import POLICY, answer_file

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def send_docs(request: Request) -> Response:
    """Every route, to read and to try."""
    return answer_file(
        request, "docs.html", {"Content-Security-Policy": POLICY.format(map_host="")}
    )
