/* Webhooks at the door: how endpoints are made known and looked at. What is sent to them, and when, is the
 * business of daydream-producers. */
#pragma once

#include "api/call.h"

extern const struct command_spec create_webhook_spec, update_webhook_spec, rotate_webhook_spec,
    redeliver_webhook_spec;

extern const struct shape delivery_params;
void list_webhooks(struct request *req);
void get_webhook(struct request *req);
void get_webhook_secret(struct request *req);
void list_deliveries(struct request *req);
