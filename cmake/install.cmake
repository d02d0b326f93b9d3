# What `cmake --install` puts where: the broker, its tool, and the configuration, which is
# never overwritten.
include(GNUInstallDirs)
if(TARGET sluice)
    install(TARGETS sluice RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
    install(TARGETS sluicectl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
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
        # The folder for the data is the administrator's to make, so it is only proposed.
        file(READ \"${CMAKE_SOURCE_DIR}/conf/sluice.conf\" text)
        string(REPLACE \"\\npersistence true\\npersistence_location data\\n\"
            \"\\n# persistence true\\n# persistence_location /var/lib/sluice\\n\" text \"\${text}\")
        file(WRITE \"\$ENV{DESTDIR}\${folder}/sluice.conf\" \"\${text}\")
        message(STATUS \"Installing: \$ENV{DESTDIR}\${folder}/sluice.conf\")
    endif()
")
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
