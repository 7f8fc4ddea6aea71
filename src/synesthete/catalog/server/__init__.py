"""A catalogue over HTTP: a REST API with keys, and pages to try each part by hand."""
