/*
 * seed: the demo catalogue, as ordinary product.create commands, once per shop: keys "seed:<sku>" give each
 * one effect, a row of bus_meta says that it was done. Categories and brands come into being with the
 * products that name them.
 */
#include "bus/base/clock.h"
#include "bus/ctl/publish.h"

struct demo {
    const char *sku, *name;
    int64_t price, stock, weight_grams;
    const char *category, *brand, *short_description, *description;
};

/* sku, name, CLP, stock, grams, category, brand, in short, in full */
static const struct demo demos[] = {
    {"CAF-GRA-1000", "Café en grano tostado 1 kg", 12990, 120, 1000, "Despensa", "Altiplano",
     "Arábica de altura, tueste medio",
     "Granos arábica tostados en pequeños lotes. Notas de cacao y cítricos."},
    {"TE-HOJ-0250", "Té negro en hojas 250 g", 6490, 80, 250, "Despensa", "Altiplano", "Hojas enteras",
     "Té negro de hojas enteras, en bolsa resellable."},
    {"MIE-ULM-0500", "Miel de ulmo 500 g", 7990, 60, 700, "Despensa", "Bosque Sur", "Pura, sin calentar",
     "Miel de flor de ulmo, cosechada en la Región de Los Lagos."},
    {"ACE-OLI-0750", "Aceite de oliva extra virgen 750 ml", 9990, 90, 1150, "Despensa", "Valle Claro",
     "Primera prensa en frío", "Aceituna arbequina, acidez máxima 0,2 %."},
    {"BIC-URB-0007", "Bicicleta urbana aro 28", 289990, 15, 14500, "Deportes", "Pedal Norte",
     "Siete velocidades", "Cuadro de acero, frenos de disco mecánicos, luces incluidas."},
    {"CAS-BIC-000M", "Casco de bicicleta talla M", 24990, 70, 310, "Deportes", "Pedal Norte",
     "Ventilado y liviano", "Ajuste trasero, 18 ventilaciones, certificación EN 1078."},
    {"ZAP-TRE-0042", "Zapatillas de trekking talla 42", 64990, 35, 980, "Deportes", "Cumbre", "Impermeables",
     "Caña media, membrana impermeable, suela para terreno mixto."},
    {"MOC-AIR-0035", "Mochila de montaña 35 litros", 49990, 40, 1250, "Deportes", "Cumbre",
     "Espalda ventilada", "Cubre lluvia incluido, bolsillo para bolsa de agua."},
    {"POL-ALG-000L", "Polera de algodón orgánico talla L", 14990, 150, 220, "Vestuario", "Hilo Fino",
     "Corte recto", "Algodón orgánico peinado, 180 g/m²."},
    {"CHA-LAN-000M", "Chaleco de lana merino talla M", 45990, 45, 420, "Vestuario", "Hilo Fino",
     "Tejido en Chiloé", "Lana merino chilena, lavado a mano."},
    {"AUD-INA-0001", "Audífonos inalámbricos", 39990, 75, 60, "Electrónica", "Onda", "Cancelación de ruido",
     "Hasta 28 horas con estuche, resistencia IPX4."},
    {"TEC-MEC-0087", "Teclado mecánico español", 59990, 25, 900, "Electrónica", "Onda",
     "87 teclas, retroiluminado", "Interruptores intercambiables, distribución en español con Ñ."},
    {"LAM-ESC-0001", "Lámpara de escritorio LED", 22990, 55, 1100, "Hogar", "Luz Serena",
     "Tres temperaturas de luz", "Brazo articulado, atenuable, puerto USB."},
    {"OLL-FIE-0024", "Olla de fierro esmaltado 24 cm", 54990, 20, 4200, "Hogar", "Fogón", "Apta para horno",
     "Fierro fundido esmaltado, 4 litros, apta para inducción."},
    {"SIL-ERG-0001", "Silla ergonómica de oficina", 129990, 12, 15800, "Hogar", "Postura",
     "Soporte lumbar ajustable", "Respaldo de malla, apoyabrazos 3D, base de aluminio."},
};
enum { DEMOS = sizeof(demos) / sizeof(*demos) };

static const struct pg_stmt select_mark = {"ctl_seed_mark",
                                           "SELECT count(*) FROM bus_meta WHERE name = 'seeded'"};
static const struct pg_stmt insert_mark = {
    "ctl_seed_set_mark",
    "INSERT INTO bus_meta (name, value) VALUES ('seeded', $1) ON CONFLICT (name) DO NOTHING"};

static const void *make_demo(struct ctl *ctl, struct uuid id, const void *what, struct arena *arena)
{
    const struct demo *demo = what;
    struct product_create *message = arena_new_of(arena, struct product_create);
    (void)ctl;
    (void)id;
    *message = (struct product_create){
        .name = str_of(demo->name),
        .sku = str_of(demo->sku),
        .price = demo->price,
        .currency = STR("CLP"),
        .category = str_of(demo->category),
        .brand = str_of(demo->brand),
        .short_description = str_of(demo->short_description),
        .description = str_of(demo->description),
        .has_stock = true,
        .stock = demo->stock,
        .has_weight_grams = true,
        .weight_grams = demo->weight_grams,
    };
    return message;
}

/* Marked only after all are published: a crash in between repeats them under the same keys. */
static err seed(struct ctl *ctl)
{
    struct outgoing commands[DEMOS];
    for (size_t i = 0; i < DEMOS; i++)
        commands[i] = (struct outgoing){.message = PRODUCT_CREATE,
                                        .idempotencykey = arena_printf(ctl->arena, "seed:%s", demos[i].sku),
                                        .make = make_demo,
                                        .what = &demos[i]};
    TRY(ctl_publish(ctl, commands, DEMOS, ctl->arena));
    const struct pg_param params[] = {pg_text(clock_text(clock_ms(), ctl->arena))};
    return pg_call(ctl->pg, &insert_mark, 1, params, NULL);
}

enum ctl_exit run_seed(struct ctl *ctl)
{
    _cleanup_(pg_result_freep) struct pg_result *result = NULL;
    err e = ctl_connect(ctl, CTL_BUS);
    if (!failed(e))
        e = pg_call(ctl->pg, &select_mark, 0, NULL, &result);
    bool seeded = !failed(e) && pg_get_int(result, 0, 0) > 0;
    if (!failed(e) && !seeded)
        e = seed(ctl);
    if (failed(e))
        return ctl_fail(e);
    int published = seeded ? 0 : DEMOS;
    if (ctl->json)
        printf("{\"published\":%d}\n", published);
    else
        printf("seed: %s\n", seeded ? "was done before" : "published");
    return CTL_OK;
}
