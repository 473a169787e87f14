# find_package(DaydreamBus 1) brings DaydreamBus::daydream-bus.
include(${CMAKE_CURRENT_LIST_DIR}/DaydreamBusTargets.cmake)
