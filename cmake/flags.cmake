# Warnings, hardening (the OpenSSF list for C) and sanitizers.
add_compile_definitions(_GNU_SOURCE)
add_compile_options(-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef
    -Wpointer-arith -Wwrite-strings)
if(SLUICE_WERROR)
    add_compile_options(-Werror)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
add_compile_options(-fno-omit-frame-pointer -g)
if(SLUICE_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread -O1)
    add_link_options(-fsanitize=thread)
elseif(SLUICE_SANITIZE)
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -O1)
    add_link_options(-fsanitize=address,undefined)
else()
    set(CMAKE_C_FLAGS_RELEASE "-O3")
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64")
        add_compile_options(-fcf-protection)
        if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
            # A struct that is cleared or copied on the way of each message: `rep stos`, gcc's choice
            # above 64 bytes, takes some thirty cycles to start.
            add_compile_options(-mmemset-strategy=unrolled_loop:256:noalign,libcall:-1:noalign
                                -mmemcpy-strategy=unrolled_loop:256:noalign,libcall:-1:noalign)
        endif()
    endif()
    add_link_options(-pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack)
endif()
