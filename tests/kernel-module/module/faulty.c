// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with one deliberate fault per value of its parameter `fault`, each
 * of a kind that a kernel of the debug flavour reports:
 *
 *	use-after-free	reads freed memory			(KASAN)
 *	lock-inversion	takes two mutexes in both orders	(lockdep)
 *	atomic-sleep	may sleep under a spinlock		(DEBUG_ATOMIC_SLEEP)
 *	wide-shift	shifts by more than a type has bits	(UBSAN)
 *	double-add	adds an entry to a list twice		(DEBUG_LIST)
 *	leak		loses its only pointers to memory	(kmemleak)
 *
 * Without a value it does nothing. It never keeps more than it is told to lose,
 * and none of the faults stops a kernel that does not look.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *fault = "";
module_param(fault, charp, 0444);
MODULE_PARM_DESC(fault, "use-after-free, lock-inversion, atomic-sleep, wide-shift, double-add or leak");

struct record {
	unsigned long value;
	char padding[120];
};

static noinline void use_after_free(void)
{
	struct record *record = kmalloc(sizeof(*record), GFP_KERNEL);

	if (!record)
		return;
	record->value = 1;
	kfree(record);
	/* Not optimised away, nor told from what was written. */
	OPTIMIZER_HIDE_VAR(record);
	pr_info("a freed record's value is %lu\n", READ_ONCE(record->value));
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

/* One thread is enough: lockdep compares orders, it need not see the deadlock. */
static noinline void lock_inversion(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static DEFINE_SPINLOCK(atomic);

static noinline void atomic_sleep(void)
{
	spin_lock(&atomic);
	/* GFP_KERNEL may wait for memory; GFP_ATOMIC is what belongs here. */
	kfree(kmalloc(sizeof(struct record), GFP_KERNEL));
	spin_unlock(&atomic);
}

static noinline void wide_shift(void)
{
	int by = 40;

	OPTIMIZER_HIDE_VAR(by);
	pr_info("1 shifted by %d is %d\n", by, 1 << by);
}

static noinline void double_add(void)
{
	LIST_HEAD(list);
	struct list_head entry;

	list_add(&entry, &list);
	list_add(&entry, &list);
}

/*
 * Many, as kmemleak takes any copy of a pointer for a reference, and stale ones
 * survive: a few on stacks, and where SLUB has per-CPU sheaves (as in 7.2), what
 * those hold. Of 16 records none was reported.
 */
static noinline void leak(void)
{
	for (int i = 0; i < 512; i++) {
		struct record *record = kmalloc(sizeof(*record), GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(record);
	}
}

static int __init faulty_init(void)
{
	if (sysfs_streq(fault, ""))
		return 0;
	pr_info("%s\n", fault);
	if (sysfs_streq(fault, "use-after-free"))
		use_after_free();
	else if (sysfs_streq(fault, "lock-inversion"))
		lock_inversion();
	else if (sysfs_streq(fault, "atomic-sleep"))
		atomic_sleep();
	else if (sysfs_streq(fault, "wide-shift"))
		wide_shift();
	else if (sysfs_streq(fault, "double-add"))
		double_add();
	else if (sysfs_streq(fault, "leak"))
		leak();
	else
		return -EINVAL;
	return 0;
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_DESCRIPTION("Deliberate faults for kernels that look for them");
MODULE_LICENSE("GPL");
