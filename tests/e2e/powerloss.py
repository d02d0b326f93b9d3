"""What a disk may hold after power was lost: reads the journal of unsynced.c, takes back every change
that no fsync made safe, and leaves a random part of them.

    watcher = Watcher(folder_to_watch, own_folder)
    ...run a program with watcher.environment(), kill -9...
    text = watcher.lose_power(random.Random(seed))

Content is kept or lost by sectors of 512 bytes, names by their folder in the order of their changes.
Own folder and watched folder are on one file system."""
import collections
import os
import shutil
import struct
import uuid

WRITE, SIZE, SYNC, SAFE, CREATE, RENAME, UNLINK = range(1, 8)
SECTOR = 512
ASAN = "verify_asan_link_order=0"  # options for a program that is built with it
HEAD = struct.Struct("=IIIIQQQQQ")  # struct entry

Entry = collections.namedtuple(
    "Entry", "number kind is_folder inode offset size another target old new")


def read_journal(name):
    """Its entries; a last one that is not whole was of a change that did not happen."""
    with open(name, "rb") as file:
        raw = file.read()
    entries, at = [], 0
    while at + HEAD.size <= len(raw):
        kind, is_folder, old, new, inode, offset, size, another, target = HEAD.unpack_from(raw, at)
        body = at + HEAD.size
        if body + old + new > len(raw):
            break
        entries.append(Entry(len(entries), kind, bool(is_folder), inode, offset, size, another, target,
                             raw[body:body + old], raw[body + old:body + old + new]))
        at = body + old + new
    return entries


def unsafe(entries):
    """The changes that no sync covers, by kind of change: {inode: [entry]} of files and of folders."""
    until, single = collections.defaultdict(int), set()
    for entry in entries:
        if entry.kind == SYNC:
            until[entry.inode] = max(until[entry.inode], entry.offset)
        elif entry.kind == SAFE:
            single.add(entry.offset)
    content, names = collections.defaultdict(list), collections.defaultdict(list)
    for entry in entries:
        if entry.kind in (WRITE, SIZE):
            if entry.number >= until[entry.inode] and entry.number not in single:
                content[entry.inode].append(entry)
        elif entry.kind in (CREATE, UNLINK, RENAME):
            folders = {entry.inode, entry.target} if entry.kind == RENAME else {entry.inode}
            if any(entry.number >= until[folder] for folder in folders):
                names[entry.inode].append(entry)
    return content, names


def pieces(entry):
    """A write by sectors: (offset, bytes)."""
    at, end = entry.offset, entry.offset + len(entry.new)
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        yield at, entry.new[at - entry.offset:stop - entry.offset]
        at = stop


class Folder:
    """The watched tree and the files kept aside, found by their inodes."""

    def __init__(self, root, kept):
        self.root, self.kept = root, kept

    def find(self, inode):
        """A path of that inode, None when it has none."""
        for root in (self.root, self.kept):
            for folder, folders, files in os.walk(root):
                if os.stat(folder).st_ino == inode:
                    return folder
                for name in folders + files:
                    path = os.path.join(folder, name)
                    if os.lstat(path).st_ino == inode:
                        return path
        return None

    def undo_content(self, inode, entries, keep):
        """Takes all of them back, then does again what keep() says; returns the sectors lost."""
        path, lost = self.find(inode), 0
        if path is None:
            return 0
        with open(path, "r+b", buffering=0) as file:
            for entry in reversed(entries):
                file.truncate(entry.size)
                file.seek(entry.another if entry.kind == SIZE else entry.offset)
                file.write(entry.old)
            for entry in entries:
                if entry.kind == SIZE:
                    if keep():
                        file.truncate(entry.another)
                    continue
                for at, part in pieces(entry):
                    if keep():
                        file.seek(at)
                        file.write(part)
                    else:
                        lost += 1
        return lost

    def undo_name(self, entry):
        """Takes one change of names back; whatever it needs is there, as later ones went before."""
        folder = self.find(entry.inode)
        if folder is None:
            return
        name = os.path.join(folder, os.fsdecode(entry.new))
        if entry.kind == CREATE:
            if entry.is_folder:
                shutil.rmtree(name)
            else:
                os.unlink(name)
        elif entry.kind == UNLINK:
            os.link(os.path.join(self.kept, str(entry.another)), name)
        else:
            target = self.find(entry.target)
            name = os.path.join(target, os.fsdecode(entry.new))
            os.rename(name, os.path.join(folder, os.fsdecode(entry.old)))
            kept = os.path.join(self.kept, str(entry.another))
            if entry.another and os.path.exists(kept):
                os.link(kept, name)


class Watcher:
    """The environment of a program, and what its folder would be after power was lost."""

    def __init__(self, root, own):
        self.root, self.own = os.path.realpath(root), os.path.realpath(own)
        self.boot = os.path.join(self.own, "boot")
        self.full = os.path.join(self.own, "full")
        self.journal_folder = os.path.join(self.own, "journal")
        os.makedirs(self.root, exist_ok=True)
        os.makedirs(self.own, exist_ok=True)
        self.new_boot()

    def new_boot(self):
        """The kernel starts anew, and all that was changed until now is on the disk."""
        shutil.rmtree(self.journal_folder, ignore_errors=True)
        os.mkdir(self.journal_folder)
        with open(self.boot, "w", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")

    def environment(self, shim):
        """Variables for the program."""
        return {"LD_PRELOAD": shim, "UNSYNCED_FOLDER": self.root, "UNSYNCED_FULL": self.full,
                "UNSYNCED_JOURNAL": self.journal_folder, "UNSYNCED_BOOT": self.boot}

    def lose_power(self, chance, share=None):
        """The program has ended.  share: how much of the unsafe stays, drawn when None.  Says what was
        lost."""
        name = os.path.join(self.journal_folder, "journal")
        content, names = unsafe(read_journal(name) if os.path.exists(name) else [])
        folder = Folder(self.root, self.journal_folder)
        if share is None:
            share = chance.choice((0, 0, 0.1, 0.5, 0.9, 1))
        lost = sum(folder.undo_content(inode, entries, lambda: chance.random() < share)
                   for inode, entries in sorted(content.items()))
        gone = []
        for entries in names.values():
            stays = len(entries) if share == 1 else 0 if share == 0 else chance.randint(0, len(entries))
            gone += entries[stays:]
        for entry in sorted(gone, reverse=True):
            folder.undo_name(entry)
        self.new_boot()
        return (f"share {share}: {lost} of {sum(map(sectors, content.values()))} unsafe sectors and "
                f"{len(gone)} of {sum(map(len, names.values()))} unsafe names lost")


def sectors(entries):
    """How many of them some writes have."""
    return sum(len(list(pieces(entry))) for entry in entries if entry.kind == WRITE)
