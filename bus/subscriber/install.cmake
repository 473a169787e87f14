# libdaydream-bus, the subscriber library for programs outside of this tree: `cmake --install build/release --prefix P`
# puts header, libraries, pkg-config file and CMake package below P. Both libraries show the names of the header alone:
# the shared one by its version script, the static one because everything it needs of ours is linked into one object
# whose other symbols are made local.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
file(STRINGS bus/subscriber/daydream/bus.h version_line REGEX "define DDS_VERSION ")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" bus_version "${version_line}")
string(REGEX MATCH "^[0-9]+" bus_major ${bus_version})
set(subscriber_dir ${CMAKE_SOURCE_DIR}/bus/subscriber)

sources(subscriber_c GLOB bus/subscriber/*.c)
layer(subscriber SOURCES ${subscriber_c} PUBLIC bus)
target_include_directories(subscriber PUBLIC ${subscriber_dir}) # <daydream/bus.h>, as it is installed

add_library(daydream-bus SHARED $<TARGET_OBJECTS:subscriber>)
target_link_libraries(daydream-bus PRIVATE bus)
target_link_options(daydream-bus PRIVATE -Wl,--version-script=${subscriber_dir}/symbols.map -Wl,--exclude-libs,ALL)
target_include_directories(daydream-bus INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(daydream-bus PROPERTIES VERSION ${bus_version} SOVERSION ${bus_major} LINKER_LANGUAGE C
    LINK_DEPENDS ${subscriber_dir}/symbols.map)

set(static_lib ${CMAKE_BINARY_DIR}/libdaydream-bus.a)
set(static_object ${CMAKE_BINARY_DIR}/daydream-bus.o)
add_custom_command(OUTPUT ${static_lib}
    COMMAND ${CMAKE_LINKER} -r -o ${static_object} $<TARGET_OBJECTS:subscriber>
        --start-group $<TARGET_FILE:bus> $<TARGET_FILE:redispump> $<TARGET_FILE:pgpump> $<TARGET_FILE:base> --end-group
    COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=dds_* ${static_object}
    COMMAND ${CMAKE_COMMAND} -E rm -f ${static_lib}
    COMMAND ${CMAKE_AR} rcs ${static_lib} ${static_object}
    DEPENDS subscriber bus redispump pgpump base $<TARGET_OBJECTS:subscriber>
    COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(daydream-bus-static ALL DEPENDS ${static_lib})

file(RELATIVE_PATH back_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /) # the tree may be moved
string(REGEX REPLACE "/$" "" back_to_prefix ${back_to_prefix})
configure_file(bus/subscriber/daydream-bus.pc.in daydream-bus.pc @ONLY)
write_basic_package_version_file(DaydreamBusConfigVersion.cmake VERSION ${bus_version} COMPATIBILITY SameMajorVersion)
set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/DaydreamBus)
install(TARGETS daydream-bus EXPORT DaydreamBusTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${static_lib} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES bus/subscriber/daydream/bus.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/daydream)
install(FILES ${CMAKE_BINARY_DIR}/daydream-bus.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(EXPORT DaydreamBusTargets NAMESPACE DaydreamBus:: DESTINATION ${cmake_dir})
install(FILES bus/subscriber/DaydreamBusConfig.cmake ${CMAKE_BINARY_DIR}/DaydreamBusConfigVersion.cmake
    DESTINATION ${cmake_dir})
