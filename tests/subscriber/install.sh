#!/usr/bin/env bash
# Somebody else's machine: the library is installed into a folder of its own, docs/examples/subscriber.c is built against
# nothing but that folder, by pkg-config (shared and static) and by CMake's find_package, as C and its header as C++,
# and the program runs beside a shop (tests/scenarios/test_subscribers.c). Uses the build of DAYDREAM_PRESET (dev).
set -euo pipefail
cd "$(dirname "$0")/../.."
build=build/${DAYDREAM_PRESET:-dev}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

cmake --install "$build" --prefix "$work/prefix" >"$work/log" || fail "install: $(tail -n 3 "$work/log")"
mv "$work/prefix" "$work/moved" # nothing of it may depend on where it was installed
export PKG_CONFIG_PATH=$work/moved/lib/pkgconfig
cp docs/examples/subscriber.c "$work"
cd "$work"

# Only the names of the header are to be seen.
foreign=$(nm -D --defined-only moved/lib/libdaydream-bus.so | awk '$2 != "A" {print $3}' | grep -v '^dds_' || true)
foreign+=$(nm -g --defined-only moved/lib/libdaydream-bus.a | awk 'NF == 3 {print $3}' | grep -v '^dds_' || true)
[ -z "$foreign" ] || fail "names that are not ours to give: $foreign"

warnings=(-std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Werror)
read -ra flags < <(pkg-config --cflags --libs daydream-bus)
gcc "${warnings[@]}" subscriber.c -o shared "${flags[@]}" -Wl,-rpath,"$work/moved/lib"
read -ra flags < <(pkg-config --cflags --libs libpq hiredis libcrypto libzstd)
gcc "${warnings[@]}" subscriber.c -o static -I moved/include moved/lib/libdaydream-bus.a "${flags[@]}" -pthread -lm
! ldd static | grep -q daydream || fail "the static program needs the shared library"
if command -v g++ >/dev/null; then
    printf '#include <daydream/bus.h>\nint main() { return dds_version() == 0; }\n' >header.cc
    g++ -Wall -Wextra -Wno-missing-field-initializers -Werror -fsyntax-only -I moved/include header.cc
fi

cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(invoices C)
find_package(DaydreamBus 1 REQUIRED)
add_executable(by_cmake subscriber.c)
target_link_libraries(by_cmake DaydreamBus::daydream-bus)
add_executable(by_cmake_static subscriber.c)
target_link_libraries(by_cmake_static DaydreamBus::daydream-bus-static)
END
cmake -S . -B out -DCMAKE_PREFIX_PATH="$work/moved" >log && cmake --build out >>log || fail "$(tail -n 20 log)"
cd - >/dev/null

for program in shared static out/by_cmake out/by_cmake_static; do
    DATABASE_URL=postgresql://127.0.0.1:1/nobody "$work/$program" 2>"$work/log" && fail "$program without a database"
    grep -q . "$work/log" || fail "$program does not say what is wrong"
done
SUBSCRIBER=$work/shared "$build/bin/test_subscribers"
