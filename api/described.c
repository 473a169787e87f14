/*
 * See described.h. The texts are constant for the life of the process, hence so is their ETag.
 */
#include "api/described.h"

/* The page needs its own style sheet and nothing else: no script, no other host. */
static const char page_policy[] =
    "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'";

void described_serve(struct request *req, const char *content_type, struct str text)
{
    if (respond_unchanged(req, arena_printf(req->arena, "\"%llx\"", (unsigned long long)str_hash(text))))
        return;
    respond_header(req, "Cache-Control", STR("public, max-age=60"));
    respond_as(req, 200, content_type, text);
}

void get_asyncapi_json(struct request *req)
{
    described_serve(req, "application/json", described_asyncapi_json);
}

void get_asyncapi_yaml(struct request *req)
{
    described_serve(req, "application/yaml", described_asyncapi_yaml);
}

void get_catalogue(struct request *req)
{
    respond_header(req, "Content-Security-Policy", str_of(page_policy));
    described_serve(req, "text/html; charset=utf-8", described_catalogue_html);
}

void get_catalogue_style(struct request *req)
{
    described_serve(req, "text/css; charset=utf-8", described_catalogue_css);
}
