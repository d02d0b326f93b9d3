# What `cmake --install` puts where: the broker and its configuration, which is never overwritten.
include(GNUInstallDirs)
if(TARGET sluice)
    install(TARGETS sluice RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
endif()
# Looked at when installing, as --prefix may differ from what was configured; /usr has its
# configuration in /etc.
install(CODE "
    set(folder \"\${CMAKE_INSTALL_PREFIX}/etc/sluice\")
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
        set(folder \"/etc/sluice\")
    endif()
    if(EXISTS \"\$ENV{DESTDIR}\${folder}/sluice.conf\")
        message(STATUS \"Kept: \$ENV{DESTDIR}\${folder}/sluice.conf\")
    else()
        file(INSTALL DESTINATION \"\${folder}\" TYPE FILE FILES \"${CMAKE_SOURCE_DIR}/conf/sluice.conf\")
    endif()
")
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
