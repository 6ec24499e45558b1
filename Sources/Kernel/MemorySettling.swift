internal import CLinux
internal import Glibc

/// What a process can do so that it holds only what it uses.
package enum Memory {
  /// Gives back what the start of this process needed and its work does not: freed heap that the allocator keeps, and
  /// the mapping of those parts of programs that were read once, such as the tables of types that Swift searches. What is
  /// used again comes back from the page cache, a page fault each. For a service that has become ready; takes a
  /// millisecond or two.
  ///
  /// - Returns: bytes of programs that were mapped before; zero where the kernel does not say.
  @discardableResult
  package static func settle() -> Int {
    malloc_trim(0)
    guard let maps = try? Files.readText("/proc/self/maps", maxBytes: 4 << 20) else { return 0 }
    var bytes = 0
    for line in maps.split(separator: "\n") {
      guard let range = programText(line) else { continue }
      // Such pages are never written to, so dropping them loses nothing, and other threads may run from them meanwhile.
      guard let start = unsafe UnsafeMutableRawPointer(bitPattern: range.lowerBound),
        unsafe madvise(start, range.count, Int32(MADV_DONTNEED)) == 0
      else { continue }
      bytes += range.count
    }
    return bytes
  }

  /// Has large blocks given back to the kernel when they are freed, for good: by itself the allocator takes the largest one
  /// that was freed as the size up to which it keeps them, in every thread's arena, so that one answer of many megabytes
  /// would be held several times over. For the begin of a process.
  package static func keepNoLargeBlocks() {
    let mmapThreshold: Int32 = -3
    let trimThreshold: Int32 = -1
    mallopt(mmapThreshold, largeBlockBytes)
    mallopt(trimThreshold, 4 * largeBlockBytes)
  }

  private static let largeBlockBytes: Int32 = 256 << 10
  private static let afterStart = Duration.seconds(5)
  private static let every = Duration.seconds(600)

  /// Settles when a service's start is behind it, and now and then, for bursts pass, too. Until cancelled.
  package static func keepSettled() async throws {
    try await Task.sleep(for: afterStart)
    while true {
      await onFreshThread { _ = settle() }
      try await Task.sleep(for: every)
    }
  }

  /// The addresses of a line of `maps` that is a file's code: readable, executable, not writable, private.
  static func programText(_ line: some StringProtocol) -> Range<UInt>? {
    let words = line.split(separator: " ", omittingEmptySubsequences: true)
    guard words.count >= 6, words[1] == "r-xp", words[5].hasPrefix("/") else { return nil }
    let ends = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
    guard ends.count == 2, ends[0] < ends[1] else { return nil }
    return ends[0]..<ends[1]
  }
}
