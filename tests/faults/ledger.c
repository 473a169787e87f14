/*
 * The ledger of a client: one line of JSON per thing it did or saw, synced before it goes on. The oracle of
 * the suite: what the clients were told is compared with what the shop has. Lines are loaded into PostgreSQL
 * for that, as text.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/faults/faults.h"

struct ledger {
    int fd, client, lines;
};

struct ledger *ledger_open(const char *folder, int client)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));
    char path[400];

    assert(ledger);
    snprintf(path, sizeof(path), "%s/ledger-%d", folder, client);
    ledger->client = client;
    ledger->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (ledger->fd < 0) {
        perror(path);
        abort();
    }
    return ledger;
}

struct ledger *ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return NULL;
    close(ledger->fd);
    free(ledger);
    return NULL;
}

static void set(json_t *line, const char *name, const char *value)
{
    if (value)
        json_object_set_new(line, name, json_string(value));
}

void ledger_note(struct ledger *ledger, const struct note *note)
{
    json_t *line = json_pack("{sisisisiss}", "n", ledger->client * 1000000 + ledger->lines++, "op", note->op,
                             "quantity", note->quantity, "http", note->http, "what", note->what);
    char *text;

    set(line, "kind", note->kind);
    set(line, "usr", note->user);
    set(line, "key", note->key);
    set(line, "product", note->product);
    set(line, "command", note->command);
    set(line, "status", note->status);
    text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (dprintf(ledger->fd, "%s\n", text) < 0 || fdatasync(ledger->fd) < 0) {
        perror("a ledger");
        abort();
    }
    free(text);
}

static const char make_table[] = "CREATE TABLE ledger_line (line text);"
                                 "CREATE TABLE ledger (n bigint, op int, what text, kind text, usr uuid, key "
                                 "text, product uuid, quantity int,"
                                 " command uuid, status text, http int);";
static const char fill_table[] =
    "INSERT INTO ledger SELECT l.* FROM ledger_line, json_populate_record(NULL::ledger, line::json) l;"
    "CREATE INDEX ON ledger (what); CREATE INDEX ON ledger (command); CREATE INDEX ON ledger (key); ANALYZE;";

static void must(struct shop *shop, PGconn *pg, const char *sql)
{
    PGresult *r = PQexec(pg, sql);

    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_COPY_IN)
        shop_die(shop, "%s: %s", sql, PQerrorMessage(pg));
    PQclear(r);
}

/* COPY's own escapes are the only thing to look after in a line. */
static void put_line(PGconn *pg, const char *line)
{
    for (; *line; line++) {
        if (*line == '\\')
            PQputCopyData(pg, "\\", 1);
        PQputCopyData(pg, line, 1);
    }
}

static void copy_file(PGconn *pg, const char *path)
{
    char line[2000];
    FILE *f = fopen(path, "re");

    while (f && fgets(line, sizeof(line), f))
        put_line(pg, line);
    if (f)
        fclose(f);
}

void ledger_load(struct shop *shop, const char *folder)
{
    PGconn *pg = PQconnectdb(servers_database_url(shop_servers(shop)));
    char path[400];

    must(shop, pg, make_table);
    must(shop, pg, "COPY ledger_line FROM STDIN");
    for (int client = 0; client < CLIENTS; client++) {
        snprintf(path, sizeof(path), "%s/ledger-%d", folder, client);
        copy_file(pg, path);
    }
    PQputCopyEnd(pg, NULL);
    PQclear(PQgetResult(pg));
    must(shop, pg, fill_table);
    PQfinish(pg);
}
