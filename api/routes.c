/*
 * The routes of the shop. Columns: method, path, what it does, who may, how the command is made, whether its
 * result is waited for; or which groups have written what it shows. The names in braces are the fields they
 * fill.
 *
 * The second table are the paths of the systems this shop replaces: the same handlers, and results are waited
 * for.
 */
#include "api/auth.h"
#include "api/commands.h"
#include "api/described.h"
#include "api/events.h"
#include "api/health.h"
#include "api/openapi.h"
#include "api/orders.h"
#include "api/product_update.h"
#include "api/products.h"
#include "api/queries.h"
#include "api/rate.h"
#include "api/reads.h"
#include "api/webhooks.h"

#define COMMAND(m, p, message, who, spec, bits)                                                              \
    {                                                                                                        \
        .method = (m), .path = (p), .command = (message), .may = (who), .more = (spec), .flags = (bits)      \
    }
/* what: its query parameters, or NULL. */
#define QUERY(p, fn, who, what, text)                                                                        \
    {                                                                                                        \
        .method = GET, .path = (p), .query = (fn), .may = (who), .more = (what), .about = (text)             \
    }
/* A query that shows what groups have written: it waits for them when the request says how far they must be.
 */
#define READING(p, fn, who, groups, what, text)                                                              \
    {                                                                                                        \
        .method = GET, .path = (p), .query = (fn), .may = (who), .reads = (groups), .more = (what),          \
        .about = (text)                                                                                      \
    }
#define RATED(p, fn, who, policy, what, text)                                                                \
    {                                                                                                        \
        .method = GET, .path = (p), .query = (fn), .may = (who), .flags = ROUTE_RATE(policy),                \
        .more = (what), .about = (text)                                                                      \
    }
#define READING_RATED(p, fn, who, groups, policy, what, text)                                                \
    {                                                                                                        \
        .method = GET, .path = (p), .query = (fn), .may = (who), .flags = ROUTE_RATE(policy),                \
        .reads = (groups), .more = (what), .about = (text)                                                   \
    }
#define DIRECT(p, fn, text)                                                                                  \
    {                                                                                                        \
        .method = GET, .path = (p), .direct = (fn), .about = (text)                                          \
    }

static const struct command_spec own_spec = {.own = true}, plain_spec = {.own = false};

/* All that is not a collection of its own has the same rows under several prefixes. */
#define AUTH_ROWS(prefix, slash)                                                                             \
    COMMAND(POST, prefix "/register" slash, USER_REGISTER, PUBLIC, &register_spec,                           \
            ROUTE_WAITS | ROUTE_RATE(RATE_AUTH)),                                                            \
        COMMAND(POST, prefix "/login" slash, USER_LOG_IN, PUBLIC, &log_in_spec,                              \
                ROUTE_WAITS | ROUTE_RATE(RATE_AUTH)),                                                        \
        COMMAND(POST, prefix "/refresh" slash, USER_REFRESH, PUBLIC, &refresh_spec, ROUTE_WAITS),            \
        COMMAND(POST, prefix "/logout" slash, USER_LOG_OUT, SIGNED_IN, &log_out_spec, ROUTE_WAITS),          \
        COMMAND(PUT, prefix "/profile" slash, USER_UPDATE, SIGNED_IN, &update_profile_spec, ROUTE_WAITS),    \
        READING(prefix "/me" slash, get_me, SIGNED_IN, READS_IDENTITY, NULL, "Who one is")
#define PRODUCT_ROWS(prefix, slash, waits)                                                                   \
    READING(prefix slash, list_products, PUBLIC, READS_CATALOG | READS_INVENTORY, &product_list_params,      \
            "Products by filter and sort"),                                                                  \
        READING(prefix "/{product_id}" slash, get_product, PUBLIC, READS_CATALOG | READS_INVENTORY, NULL,    \
                "A product"),                                                                                \
        READING(prefix "/low-stock" slash, list_low_stock, SEE_INVENTORY, READS_CATALOG | READS_INVENTORY,   \
                &low_stock_params, "Products of which little is left"),                                      \
        COMMAND(POST, prefix slash, PRODUCT_CREATE, EDIT_PRODUCTS, &create_product_spec, waits),             \
        COMMAND(PUT, prefix "/{product_id}" slash, PRODUCT_UPDATE, EDIT_PRODUCTS, &update_product_spec,      \
                waits),                                                                                      \
        COMMAND(DELETE, prefix "/{product_id}" slash, PRODUCT_DELETE, EDIT_PRODUCTS, &plain_spec, waits)
#define CART_ROWS(prefix, slash, waits)                                                                      \
    READING(prefix slash, get_cart, BUY, READS_CART | READS_CATALOG, NULL, "One's cart"),                    \
        COMMAND(DELETE, prefix slash, CART_CLEAR, BUY, &own_spec, waits),                                    \
        COMMAND(POST, prefix "/items" slash, CART_ADD_ITEM, BUY, &own_spec, waits),                          \
        COMMAND(PUT, prefix "/items/{item_id}" slash, CART_SET_ITEM, BUY, &own_spec, waits),                 \
        COMMAND(DELETE, prefix "/items/{item_id}" slash, CART_REMOVE_ITEM, BUY, &own_spec, waits)
#define ORDER_ROWS(prefix, slash, waits)                                                                     \
    READING(prefix slash, list_orders, BUY, READS_ORDERS, &order_list_params,                                \
            "One's orders, or everybody's for those who may see them"),                                      \
        READING(prefix "/{order_id}" slash, get_order, BUY, READS_ORDERS, NULL,                              \
                "An order, its lines and what happened to it"),                                              \
        COMMAND(POST, prefix slash, ORDER_PLACE, BUY, &place_order_spec, waits),                             \
        COMMAND(POST, prefix "/{order_id}/confirm" slash, ORDER_CONFIRM, RUN_ORDERS, &plain_spec, waits),    \
        COMMAND(POST, prefix "/{order_id}/cancel" slash, ORDER_CANCEL, BUY, &cancel_order_spec, waits),      \
        COMMAND(PUT, prefix "/{order_id}/status" slash, ORDER_SET_STATUS, RUN_ORDERS, &plain_spec, waits)
#define LABEL_ROWS(prefix, slash, waits)                                                                     \
    READING(prefix "/categories" slash, list_categories, PUBLIC, READS_CATALOG, &page_params, "Categories"), \
        READING(prefix "/brands" slash, list_brands, PUBLIC, READS_CATALOG, &page_params, "Brands"),         \
        COMMAND(POST, prefix "/categories" slash, CATEGORY_ENSURE, EDIT_PRODUCTS, &plain_spec, waits),       \
        COMMAND(POST, prefix "/brands" slash, BRAND_ENSURE, EDIT_PRODUCTS, &plain_spec, waits)

#define WEBHOOK_ROWS(prefix)                                                                                 \
    READING(prefix, list_webhooks, RUN_WEBHOOKS, READS_WEBHOOKS, &page_params,                               \
            "Endpoints that are told of events"),                                                            \
        READING(prefix "/{webhook_id}", get_webhook, RUN_WEBHOOKS, READS_WEBHOOKS, NULL, "An endpoint"),     \
        READING(prefix "/{webhook_id}/secret", get_webhook_secret, RUN_WEBHOOKS, READS_WEBHOOKS, NULL,       \
                "What signs its requests"),                                                                  \
        READING(prefix "/{webhook_id}/deliveries", list_deliveries, RUN_WEBHOOKS, READS_WEBHOOKS,            \
                &delivery_params, "What was sent to it, and how it went"),                                   \
        COMMAND(POST, prefix, WEBHOOK_CREATE, RUN_WEBHOOKS, &create_webhook_spec, ROUTE_WAITS),              \
        COMMAND(PUT, prefix "/{webhook_id}", WEBHOOK_UPDATE, RUN_WEBHOOKS, &update_webhook_spec,             \
                ROUTE_WAITS),                                                                                \
        COMMAND(DELETE, prefix "/{webhook_id}", WEBHOOK_DELETE, RUN_WEBHOOKS, &plain_spec, ROUTE_WAITS),     \
        COMMAND(POST, prefix "/{webhook_id}/rotate", WEBHOOK_ROTATE, RUN_WEBHOOKS, &rotate_webhook_spec,     \
                ROUTE_WAITS),                                                                                \
        COMMAND(POST, prefix "/{webhook_id}/test", WEBHOOK_TEST, RUN_WEBHOOKS, &plain_spec, ROUTE_WAITS),    \
        COMMAND(POST, prefix "/{webhook_id}/deliveries/{delivery_id}/redeliver", WEBHOOK_REDELIVER,          \
                RUN_WEBHOOKS, &redeliver_webhook_spec, ROUTE_WAITS)

static const struct route v1_routes[] = {
    AUTH_ROWS("/api/v1/auth", ""),
    PRODUCT_ROWS("/api/v1/products", "", 0),
    LABEL_ROWS("/api/v1", "", 0),
    CART_ROWS("/api/v1/cart", "", 0),
    ORDER_ROWS("/api/v1/orders", "", 0),
    READING_RATED("/api/v1/users", list_users, RUN_USERS, READS_IDENTITY, RATE_ADMIN, &page_params, "People"),
    READING("/api/v1/users/{user_id}", get_user, SIGNED_IN, READS_IDENTITY, NULL, "A person"),
    COMMAND(PUT, "/api/v1/users/{user_id}", USER_UPDATE, SIGNED_IN, &update_user_spec, 0),
    READING("/api/v1/inventory/stock", list_stock, PUBLIC, READS_INVENTORY, &stock_params,
            "What is on hand and what is held"),
    READING("/api/v1/inventory/movements", list_movements, SEE_INVENTORY, READS_INVENTORY, &movement_params,
            "Movements of stock, newest first"),
    COMMAND(POST, "/api/v1/inventory/movements", STOCK_ADJUST, EDIT_INVENTORY, &plain_spec, 0),
    READING("/api/v1/inventory/warehouses", list_warehouses, SEE_INVENTORY, READS_INVENTORY, &page_params,
            "Warehouses"),
    READING("/api/v1/sales/stats", list_sales, SEE_ORDERS, READS_REPORTS, &page_params, "What was sold"),
    RATED("/api/v1/why/{kind}/{id}", get_why, SEE_STORIES, RATE_ADMIN, &why_params,
          "Why something is as it is: the tree of its commands and events"),
    QUERY("/api/v1/events", get_events, SIGNED_IN, &event_params,
          "Events as they happen, by Server-Sent Events"),
    WEBHOOK_ROWS("/api/v1/webhooks"),
    RATED("/api/v1/commands/{command_id}", get_command, PUBLIC, RATE_POLL, NULL,
          "How a command stands, or its result"),
    {.path = NULL},
};

static const struct route alias_routes[] = {
    PRODUCT_ROWS("/api/v1/products", "/", ROUTE_WAITS), /* S0 ends its paths with a slash */
    LABEL_ROWS("/api/v1", "/", ROUTE_WAITS),
    CART_ROWS("/api/v1/cart", "/", ROUTE_WAITS),
    AUTH_ROWS("/api/auth", "/"), /* S1 */
    PRODUCT_ROWS("/api/inventario/products", "/", ROUTE_WAITS),
    READING("/api/inventario/movements/", list_movements, SEE_INVENTORY, READS_INVENTORY, &movement_params,
            "Movements of stock, newest first"),
    COMMAND(POST, "/api/inventario/movements/", STOCK_ADJUST, EDIT_INVENTORY, &plain_spec, ROUTE_WAITS),
    ORDER_ROWS("/api/ventas/orders", "/", ROUTE_WAITS),
    READING_RATED("/api/users/", list_users, RUN_USERS, READS_IDENTITY, RATE_ADMIN, &page_params,
                  "People"), /* S2 */
    COMMAND(PUT, "/api/users/{user_id}/", USER_UPDATE, SIGNED_IN, &update_user_spec, ROUTE_WAITS),
    READING("/api/brands/", list_brands, PUBLIC, READS_CATALOG, &page_params, "Brands"),
    AUTH_ROWS("/auth", ""), /* S4 has no prefix */
    PRODUCT_ROWS("/products", "", ROUTE_WAITS),
    CART_ROWS("/cart", "", ROUTE_WAITS),
    ORDER_ROWS("/orders", "", ROUTE_WAITS),
    {.path = NULL},
};

static const struct route direct_routes[] = {
    DIRECT("/health", get_health, "Is this door alive"),
    DIRECT("/health/detailed", get_health_detailed, "Is the shop ready, and why not"),
    DIRECT("/metrics", get_metrics, "Metrics of all programs, for Prometheus"),
    DIRECT("/openapi.json", get_openapi, "This document"),
    DIRECT("/asyncapi.json", get_asyncapi_json, "Every message of the bus, AsyncAPI 3.0"),
    DIRECT("/asyncapi.yaml", get_asyncapi_yaml, "The same as YAML"),
    DIRECT("/docs", get_catalogue, "Every message of the bus, for people"),
    DIRECT("/docs/style.css", get_catalogue_style, "How that page looks"),
    {.path = NULL},
};

const struct route *const shop_routes[] = {v1_routes, alias_routes, direct_routes, NULL};
