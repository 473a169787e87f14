/* jansson as the oracle of our JSON. */
#include <jansson.h>
#include <string.h>

#include "tests/support/oracle.h"

bool oracle_accepts(const char *text, size_t n, bool *ret_overflow)
{
    json_error_t error;
    json_t *value = json_loadb(text, n, JSON_DECODE_ANY, &error);
    bool good = value != NULL;

    *ret_overflow = !good && json_error_code(&error) == json_error_numeric_overflow;
    json_decref(value);
    return good;
}

char *oracle_member(const char *text, size_t n, const char *name)
{
    json_t *object = json_loadb(text, n, 0, NULL);
    const char *value = json_string_value(json_object_get(object, name));
    char *copy = value ? strdup(value) : NULL;

    json_decref(object);
    return copy;
}
