/* Addresses: names, texts, ports and socket files that are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/address.h"

static char folder[64], path[108];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sluice-address-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof path, "%s/socket", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static struct address resolved(const char *host, uint16_t port)
{
    struct address all[ADDRESS_RESOLVED_MAX];
    unsigned count = 0;
    assert_int_equal(address_resolve(host, port, AF_UNSPEC, all, &count), 0);
    assert_true(count >= 1 && count <= ADDRESS_RESOLVED_MAX);
    return all[0];
}

/* The address with the port that the kernel chose. */
static struct address bound(int fd)
{
    struct address a = {.size = sizeof a.sa};
    assert_int_equal(getsockname(fd, (void *)&a.sa, &a.size), 0);
    return a;
}

static void expect_text(const struct address *a, const char *expected)
{
    char text[ADDRESS_TEXT_MAX];
    address_text(a, text);
    assert_string_equal(text, expected);
}

static void numbers_resolve_to_themselves(void **state)
{
    (void)state;
    struct address a = resolved("127.0.0.1", 1883);
    assert_int_equal(a.sa.ss_family, AF_INET);
    expect_text(&a, "127.0.0.1:1883");
    a = resolved("::1", 65535);
    assert_int_equal(a.sa.ss_family, AF_INET6);
    expect_text(&a, "[::1]:65535");
    a = resolved("2001:db8::a", 0);
    expect_text(&a, "[2001:db8::a]:0");
}

static void no_host_is_any_address_of_the_wanted_family(void **state)
{
    (void)state;
    struct address all[ADDRESS_RESOLVED_MAX];
    unsigned count = 0;
    assert_int_equal(address_resolve(NULL, 1883, AF_INET, all, &count), 0);
    assert_int_equal(count, 1);
    expect_text(&all[0], "0.0.0.0:1883");
    assert_int_equal(address_resolve(NULL, 1883, AF_INET6, all, &count), 0);
    assert_int_equal(count, 1);
    expect_text(&all[0], "[::]:1883");
}

static void an_address_of_another_family_is_not_found(void **state)
{
    (void)state;
    struct address all[ADDRESS_RESOLVED_MAX];
    unsigned count = 0;
    assert_int_equal(address_resolve("127.0.0.1", 1, AF_INET6, all, &count), E_NOTFOUND);
}

static void a_port_that_is_taken_is_found_out(void **state)
{
    (void)state;
    int first, second;
    struct address a = resolved("127.0.0.1", 0);
    assert_int_equal(address_probe(&a, NULL), 0);
    assert_int_equal(address_listen(&a, NULL, false, &first), 0);
    a = bound(first);
    assert_int_equal(address_probe(&a, NULL), E_IO);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(address_listen(&a, NULL, false, &second), E_IO);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(address_listen(&a, NULL, true, &second), E_IO); /* the first does not share */
    close(first);
    assert_int_equal(address_listen(&a, NULL, false, &first), 0);
    close(first);
}

static void a_shared_port_has_room_for_others_but_a_probe_sees_it(void **state)
{
    (void)state;
    int fds[3];
    struct address a = resolved("127.0.0.1", 0);
    assert_int_equal(address_listen(&a, NULL, true, &fds[0]), 0);
    a = bound(fds[0]);
    for (int i = 1; i < 3; i++) assert_int_equal(address_listen(&a, NULL, true, &fds[i]), 0);
    assert_int_equal(address_probe(&a, NULL), E_IO);
    assert_int_equal(errno, EADDRINUSE);
    for (int i = 0; i < 3; i++) close(fds[i]);
}

static void listening_sockets_do_not_block(void **state)
{
    (void)state;
    int fd;
    struct address a = resolved("127.0.0.1", 0);
    assert_int_equal(address_listen(&a, NULL, false, &fd), 0);
    assert_int_equal(accept(fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static void an_interface_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    int fd;
    struct address a = resolved("127.0.0.1", 0);
    assert_int_equal(address_listen(&a, "no-such-device", false, &fd), E_IO);
    assert_true(errno == ENODEV || errno == EPERM);
}

static void peers_have_texts(void **state)
{
    (void)state;
    int fd, client;
    char expected[ADDRESS_TEXT_MAX];
    struct address a = resolved("127.0.0.1", 0), peer = {.size = sizeof peer.sa};
    assert_int_equal(address_listen(&a, NULL, false, &fd), 0);
    a = bound(fd);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (void *)&a.sa, a.size), 0);
    int accepted = accept(fd, (void *)&peer.sa, &peer.size);
    assert_true(accepted >= 0);
    struct address own = bound(client);
    const struct sockaddr_in *in = (const void *)&own.sa;
    snprintf(expected, sizeof expected, "127.0.0.1:%u", ntohs(in->sin_port));
    expect_text(&peer, expected);
    close(accepted);
    close(client);
    close(fd);
}

/* ---- unix sockets ---- */

static void a_path_that_is_too_long_is_refused(void **state)
{
    (void)state;
    struct address a;
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 1];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = 0;
    assert_int_equal(address_unix(name, &a), E_INVALID);
    name[sizeof name - 2] = 0;
    assert_int_equal(address_unix(name, &a), 0);
    expect_text(&a, "unix");
}

static void a_stale_socket_file_is_removed(void **state)
{
    (void)state;
    int fd;
    struct stat st;
    struct address a;
    assert_int_equal(address_unix(path, &a), 0);
    assert_int_equal(address_listen(&a, NULL, false, &fd), 0);
    close(fd); /* as a broker that was killed leaves it */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(address_listen(&a, NULL, false, &fd), 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (void *)&a.sa, a.size), 0);
    close(client);
    close(fd);
}

static void a_socket_file_in_use_stays(void **state)
{
    (void)state;
    int fd, other;
    struct address a;
    assert_int_equal(address_unix(path, &a), 0);
    assert_int_equal(address_listen(&a, NULL, false, &fd), 0);
    assert_int_equal(address_listen(&a, NULL, false, &other), E_IO);
    assert_int_equal(errno, EADDRINUSE);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (void *)&a.sa, a.size), 0);
    close(client);
    close(fd);
}

static void a_file_that_is_no_socket_stays(void **state)
{
    (void)state;
    int fd;
    struct stat st;
    struct address a;
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(address_unix(path, &a), 0);
    assert_int_equal(address_listen(&a, NULL, false, &fd), E_IO);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void texts_have_a_network(void **state)
{
    (void)state;
    assert_int_equal(address_net("1.2.3.4:5"), 0xffff01020304);
    assert_int_equal(address_net("1.2.3.4:6"), address_net("[::ffff:1.2.3.4]:7"));
    assert_int_not_equal(address_net("1.2.3.4:5"), address_net("1.2.3.5:5"));
    assert_int_equal(address_net("[2001:db8:1:2:3:4:5:6]:7"), 0x20010db800010002);
    assert_int_equal(address_net("[2001:db8:1:2::]:7"), 0x20010db800010002);
    assert_int_equal(address_net("[::1]:5"), 0);
    static const char *const none[] = {"unix", "", "[", "1.2.3:4", "[1.2.3.4]:5"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_true(address_net(none[i]) == ADDRESS_NET_NONE);
}

#define A_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(numbers_resolve_to_themselves),
        A_TEST(no_host_is_any_address_of_the_wanted_family),
        A_TEST(an_address_of_another_family_is_not_found),
        A_TEST(a_port_that_is_taken_is_found_out),
        A_TEST(a_shared_port_has_room_for_others_but_a_probe_sees_it),
        A_TEST(listening_sockets_do_not_block),
        A_TEST(an_interface_that_is_not_there_is_an_error),
        A_TEST(peers_have_texts),
        A_TEST(texts_have_a_network),
        A_TEST(a_path_that_is_too_long_is_refused),
        A_TEST(a_stale_socket_file_is_removed),
        A_TEST(a_socket_file_in_use_stays),
        A_TEST(a_file_that_is_no_socket_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
