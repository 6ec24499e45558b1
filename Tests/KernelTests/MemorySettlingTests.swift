import Testing

@testable import Kernel

@Suite struct MemorySettlingTests {
  @Test(arguments: [
    ("7f00-8f00 r-xp 00001000 08:01 12 /usr/lib/libc.so.6", 0x7f00..<0x8f00),
    ("7f00-8f00 rw-p 00001000 08:01 12 /usr/lib/libc.so.6", nil),
    ("7f00-8f00 r--p 00001000 08:01 12 /usr/lib/libc.so.6", nil),
    ("7f00-8f00 r-xs 00001000 08:01 12 /usr/lib/libc.so.6", nil),
    ("7f00-8f00 r-xp 00000000 00:00 0 [vdso]", nil), ("7f00-8f00 r-xp 00000000 00:00 0", nil), ("", nil),
  ])
  func onlyTheCodeOfFilesIsGivenBack(_ line: String, _ range: Range<UInt>?) {
    #expect(Memory.programText(line) == range)
  }

  @Test func whatWasGivenBackIsThereAgainWhenItIsUsed() throws {
    #expect(Memory.settle() > 0)
    // This very test goes on, and so do those beside it.
    #expect(try Files.readText("/proc/self/maps", maxBytes: 4 << 20)?.isEmpty == false)
  }
}
