/*
 * CRC-32C (Castagnoli), the hash that sends a partition key to its partition. It is stored in every log, so
 * both ways to compute it give the same for ever; the processor's instruction is only faster.
 */
#include "bus/base/str.h"

/* One row per value of four bits; a byte takes two look-ups. Polynomial 0x1EDC6F41, reflected. */
static const uint32_t nibbles[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t crc32c_table(struct str s)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < s.n; i++) {
        crc ^= (unsigned char)s.p[i];
        crc = crc >> 4 ^ nibbles[crc & 15];
        crc = crc >> 4 ^ nibbles[crc & 15];
    }
    return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(struct str s)
{
    uint64_t crc = UINT32_MAX, word;
    size_t at = 0;

    for (; s.n - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, s.p + at, sizeof(word));
        crc = __builtin_ia32_crc32di(crc, word);
    }
    for (; at < s.n; at++)
        crc = __builtin_ia32_crc32qi((uint32_t)crc, (unsigned char)s.p[at]);
    return ~(uint32_t)crc;
}

uint32_t crc32c(struct str s)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(s) : crc32c_table(s);
}
#else
uint32_t crc32c(struct str s)
{
    return crc32c_table(s);
}
#endif
