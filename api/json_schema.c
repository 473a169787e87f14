/* See json_schema.h. */
#include "api/json_schema.h"

bool schema_shows(const struct field *f)
{
    return !(f->flags & FIELD_INTERNAL);
}

void schema_put(struct json *j, const struct shape *shape)
{
    json_kstr(j, "type", STR("object"));
    json_kbool(j, "additionalProperties", false);
    json_kopen(j, "required", '[');
    for (size_t i = 0; i < shape->n; i++)
        if (schema_shows(&shape->fields[i]) && (shape->fields[i].flags & FIELD_REQUIRED))
            json_str(j, str_of(shape->fields[i].name));
    json_close(j, ']');
    json_kopen(j, "properties", '{');
    for (size_t i = 0; i < shape->n; i++) {
        if (!schema_shows(&shape->fields[i]))
            continue;
        json_kopen(j, shape->fields[i].name, '{');
        schema_put_field(j, &shape->fields[i]);
        json_close(j, '}');
    }
    json_close(j, '}');
}

static const struct {
    const char *key, *value;
} formats[] = {
    [FORMAT_EMAIL] = {"format", "email"},          [FORMAT_DATE] = {"format", "date"},
    [FORMAT_DATE_TIME] = {"format", "date-time"},  [FORMAT_SLUG] = {"pattern", "^[a-z0-9]+(-[a-z0-9]+)*$"},
    [FORMAT_CURRENCY] = {"pattern", "^[A-Z]{3}$"}, [FORMAT_URI] = {"format", "uri"},
};

static void put_string(struct json *j, const struct field *f)
{
    json_kstr(j, "type", STR("string"));
    if (f->min > 0)
        json_kint(j, "minLength", f->min);
    if (f->max > 0)
        json_kint(j, "maxLength", f->max);
    if (formats[f->format].key)
        json_kstr(j, formats[f->format].key, str_of(formats[f->format].value));
    if (!f->values)
        return;
    json_kopen(j, "enum", '[');
    for (const char *const *value = f->values; *value; value++)
        json_str(j, str_of(*value));
    json_close(j, ']');
}

static void put_int_field(struct json *j, const struct field *f)
{
    json_kstr(j, "type", STR("integer"));
    if (f->min != INT64_MIN)
        json_kint(j, "minimum", f->min);
    if (f->max != INT64_MAX)
        json_kint(j, "maximum", f->max);
}

static void put_list(struct json *j, const struct field *f)
{
    json_kstr(j, "type", STR("array"));
    json_kint(j, "minItems", f->min);
    json_kint(j, "maxItems", f->max);
    json_kopen(j, "items", '{');
    schema_put_field(j, f->item);
    json_close(j, '}');
}

/* The members of the schema of a field. Limits of money are in minor units, of a currency that is not known
 * here. */
void schema_put_field(struct json *j, const struct field *f)
{
    switch (f->kind) {
    case FIELD_STRING:
        if (f->shape) /* personal: an object in clear */
            schema_put(j, f->shape);
        else
            put_string(j, f);
        break;
    case FIELD_INT:
        put_int_field(j, f);
        break;
    case FIELD_BOOL:
        json_kstr(j, "type", STR("boolean"));
        break;
    case FIELD_UUID:
        json_kstr(j, "type", STR("string"));
        json_kstr(j, "format", STR("uuid"));
        break;
    case FIELD_MONEY:
        json_kstr(j, "type", STR("number"));
        if (f->min == 0)
            json_kint(j, "minimum", 0);
        json_kstr(j, "description", STR("an exact decimal, with no more decimals than its currency has"));
        break;
    case FIELD_OBJECT:
        schema_put(j, f->shape);
        break;
    case FIELD_LIST:
        put_list(j, f);
        break;
    case FIELD_RAW:
        json_kstr(j, "description", STR("any JSON value"));
        break;
    }
}
