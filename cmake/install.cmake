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
# The unit names the two by where they are installed.
install(CODE "
    set(conf \"\${CMAKE_INSTALL_PREFIX}/etc/sluice\")
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
        set(conf \"/etc/sluice\")
    endif()
    set(unit \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system/sluice.service\")
    file(READ \"${CMAKE_SOURCE_DIR}/packaging/sluice.service\" text)
    string(REPLACE \"/usr/sbin/\" \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}/\" text \"\${text}\")
    string(REPLACE \"/etc/sluice/\" \"\${conf}/\" text \"\${text}\")
    file(WRITE \"\$ENV{DESTDIR}\${unit}\" \"\${text}\")
    message(STATUS \"Installing: \$ENV{DESTDIR}\${unit}\")
")
install(FILES packaging/sluice.sysusers DESTINATION lib/sysusers.d RENAME sluice.conf)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
