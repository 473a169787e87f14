# find_package(DaydreamBus 1) brings DaydreamBus::daydream-bus, and DaydreamBus::daydream-bus-static for programs that
# carry the library with them (pkg-config finds what that needs).
include(${CMAKE_CURRENT_LIST_DIR}/DaydreamBusTargets.cmake)
get_target_property(_daydream_bus_includes DaydreamBus::daydream-bus INTERFACE_INCLUDE_DIRECTORIES)
get_filename_component(_daydream_bus_lib ${CMAKE_CURRENT_LIST_DIR}/../.. ABSOLUTE)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND AND NOT TARGET DaydreamBus::daydream-bus-static)
    pkg_check_modules(DaydreamBusNeeds QUIET IMPORTED_TARGET libpq hiredis libcrypto libzstd)
    add_library(DaydreamBus::daydream-bus-static STATIC IMPORTED)
    set_target_properties(DaydreamBus::daydream-bus-static PROPERTIES
        IMPORTED_LOCATION ${_daydream_bus_lib}/libdaydream-bus.a
        INTERFACE_INCLUDE_DIRECTORIES "${_daydream_bus_includes}"
        INTERFACE_LINK_LIBRARIES "PkgConfig::DaydreamBusNeeds;m")
endif()
