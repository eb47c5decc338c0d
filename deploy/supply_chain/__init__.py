"""What is shipped, in which versions, under which licences: constraint files, SBOM, licence list.

    pyproject.toml --uv--> constraints/*.txt --pip report--> sbom/*.cdx.json --> licence list

The first two steps need a package index; the last, and all checks of the test suite, need nothing.
"""
