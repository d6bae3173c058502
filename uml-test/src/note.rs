//! The mark by which a program that has uml-test in it is known from outside: such a program boots
//! guests of its own, and `cargo uml`'s runner starts it on the host.
#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "a section's name is not checked; nothing reads this one as code"
    )
)]

/// An ELF note (`elf(5)`): sizes of name and description, a type of the name's owner, the name, and
/// the description, each padded to four bytes.
#[repr(C, align(4))]
struct Note {
    name_size: u32,
    description_size: u32,
    kind: u32,
    name: [u8; 12],
    description: u32,
}

/// Its section is what is looked for.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".note.uml-test"))]
static NOTE: Note = Note {
    name_size: 9,
    description_size: 4,
    kind: 1,
    name: *b"uml-test\0\0\0\0",
    description: 1, // the note's version
};
