/*
 * What the shop says about its messages: the AsyncAPI document and a page for people. Made at build time by
 * schemas/describe.py from the schemas and the groups, so it cannot say anything else than the code does.
 */
#pragma once

#include "api/http.h"

extern const struct str described_asyncapi_json, described_asyncapi_yaml;
extern const struct str described_catalogue_html, described_catalogue_css;

/* Answers with a text that is constant for the life of the process, or 304. */
void described_serve(struct request *req, const char *content_type, struct str text);

void get_asyncapi_json(struct request *req);
void get_asyncapi_yaml(struct request *req);
void get_catalogue(struct request *req);
void get_catalogue_style(struct request *req);
