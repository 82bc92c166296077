"""A finished model behind HTTP: `flower-client serve`.

    requests/connection ──► requests/access ──► endpoints ──► classification/
    (bounds a request's     (keys, hosts,       (JSON, PNG,    (decodes two at a time,
    head and time)          counts)             the page)      one batch at a time)

`server` starts and drains it; `photo_service` holds the parts that endpoints share.
"""
