/* The intrusive list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
    struct list link;
    int number;
};

static int number_of(struct list *l) { return CONTAINER_OF(l, struct item, link)->number; }

static void items_come_in_the_order_they_were_pushed(void **state)
{
    (void)state;
    struct list head;
    struct item items[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    list_init(&head);
    assert_true(list_empty(&head));
    for (int i = 0; i < 3; i++) list_push(&head, &items[i].link);
    assert_false(list_empty(&head));
    int expected = 1;
    LIST_EACH_SAFE(it, next, &head) assert_int_equal(number_of(it), expected++);
    assert_int_equal(expected, 4);
}

static void an_item_knows_whether_it_is_linked_and_may_be_deleted_twice(void **state)
{
    (void)state;
    struct list head;
    struct item a = {.number = 1}, b = {.number = 2};
    list_init(&head);
    assert_false(list_linked(&a.link));
    list_del(&a.link); /* harmless */
    list_push(&head, &a.link);
    list_push(&head, &b.link);
    assert_true(list_linked(&a.link));
    list_del(&a.link);
    list_del(&a.link);
    assert_false(list_linked(&a.link));
    assert_int_equal(number_of(head.next), 2);
    assert_ptr_equal(head.next, head.prev);
    list_del(&b.link);
    assert_true(list_empty(&head));
}

static void items_may_be_deleted_while_walking(void **state)
{
    (void)state;
    struct list head;
    struct item items[5] = {
        {.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    list_init(&head);
    for (int i = 0; i < 5; i++) list_push(&head, &items[i].link);
    LIST_EACH_SAFE(it, next, &head)
    {
        if (number_of(it) % 2 == 0) list_del(it);
    }
    int sum = 0, count = 0;
    LIST_EACH_SAFE(it, next, &head) sum += number_of(it), count++;
    assert_int_equal(count, 2);
    assert_int_equal(sum, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_in_the_order_they_were_pushed),
        cmocka_unit_test(an_item_knows_whether_it_is_linked_and_may_be_deleted_twice),
        cmocka_unit_test(items_may_be_deleted_while_walking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
