/*
 * What a refusal of PostgreSQL means for us: one table from SQLSTATE to error code. Texts name the SQLSTATE,
 * the statement and the constraint, never a value: messages of PostgreSQL quote values in many places.
 */
#include <stdio.h>

#include "bus/pg/internal.h"

/* The longest prefix that fits wins by coming first. */
static const struct {
    const char *prefix;
    enum err_code code;
} classes[] = {
    {"DSF01", ERR_FENCED},   /* raised by fence(): the partition has another owner, or the batch was done */
    {"23505", ERR_UNIQUE},   /* unique_violation */
    {"55P03", ERR_PG_RETRY}, /* lock_not_available */
    {"25P03", ERR_PG_DOWN},  /* idle_in_transaction_session_timeout: the session is gone */
    {"57P", ERR_PG_DOWN},    /* shutdown, crash, starting up, session timeout */
    {"08", ERR_PG_DOWN},     /* connection exceptions */
    {"40", ERR_PG_RETRY},    /* deadlock, serialization failure */
    {"53", ERR_PG_RETRY},    /* out of memory, disk or connections */
    {"57", ERR_PG_RETRY},    /* cancelled */
    {"58", ERR_PG_RETRY},    /* system errors */
    {"", ERR_SQL},
};

static enum err_code classify(const char *sqlstate)
{
    size_t i = 0;
    while (strncmp(sqlstate, classes[i].prefix, strlen(classes[i].prefix)) != 0)
        i++;
    return classes[i].code;
}

static const char *field(const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);
    return text ? text : "";
}

void failure_describe(const PGresult *result, const char *name, struct failure *ret)
{
    const char *state = field(result, PG_DIAG_SQLSTATE);
    const char *severity = field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *constraint = field(result, PG_DIAG_CONSTRAINT_NAME);
    bool gone =
        !strcmp(severity, "FATAL") || !strcmp(severity, "PANIC") || !*state; /* no state: libpq's own words */
    ret->code = gone ? ERR_PG_DOWN : classify(state);
    /* Class 42, syntax and access rules, speaks of our SQL and no values; without it such a mistake is not
     * found. */
    const char *message = strncmp(state, "42", 2) == 0 ? field(result, PG_DIAG_MESSAGE_PRIMARY) : "";
    const char *position = *message ? field(result, PG_DIAG_STATEMENT_POSITION) : "";
    snprintf(ret->text, sizeof(ret->text), "%s in %s%s%s%s%s%s%s", *state ? state : "no connection", name,
             *constraint ? ", constraint " : "", constraint, *message ? ": " : "", message,
             *position ? ", character " : "", position);
}

err failure_err(const struct failure *f)
{
    return err_fail(f->code, __FILE__, __LINE__, "%s", f->text);
}

bool failure_is_stale_plan(const PGresult *result)
{
    const char *state = field(result, PG_DIAG_SQLSTATE);
    return !strcmp(state, "0A000") || !strcmp(state, "26000");
}
