/* See glance.h. */
#include "api/glance.h"

struct asker {
    struct request *req;
    struct asker *next;
};

bool glance_begin(struct glance *glance, struct request *req)
{
    struct asker *asker = arena_new_of(req->arena, struct asker);
    bool first = !glance->under_way;
    *asker = (struct asker){req, glance->askers};
    glance->askers = asker;
    glance->under_way = true;
    return first;
}

/* Requests whose clients have left are answered, too: that ends them and their memory. Who took the look, and
 * may hold the text, stands last. */
void glance_end(struct glance *glance, int status, const char *content_type, struct str text)
{
    struct asker *asker = glance->askers;
    *glance = (struct glance){0};
    while (asker) {
        struct request *req = asker->req;
        asker = asker->next; /* an answer may end the memory it stands in */
        if (status == 503)
            respond_header(req, "Retry-After", STR("1"));
        respond_as(req, status, content_type, arena_str(req->arena, text));
    }
}
