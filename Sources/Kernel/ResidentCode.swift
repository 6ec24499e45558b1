internal import Glibc

/// The code of this process in memory.
///
/// A program that starts runs through much code that it never needs again, and the kernel maps the surroundings of each
/// page with it. Those pages count as resident until the machine is short of memory.
package enum ResidentCode {
  /// Lets go of all pages of code, of the program and its libraries; those that are needed come back from the page cache,
  /// at well under a microsecond each. Nothing that was ever written is touched. Takes under a millisecond.
  /// - Returns: bytes of mappings that were let go of.
  @discardableResult
  package static func release() throws(SyscallError) -> Int {
    var released = 0
    for line in (try Files.readText("/proc/self/maps") ?? "").split(separator: "\n") {
      guard let range = mapping(line) else { continue }
      let address = unsafe UnsafeMutableRawPointer(bitPattern: UInt(range.lowerBound))
      // Safe: a mapping of a file that cannot be written holds what the file holds, wherever its pages come from. One that
      // vanished since gives an error.
      if unsafe madvise(address, range.count, MADV_DONTNEED) == 0 { released += range.count }
    }
    return released
  }

  /// The addresses of a line of `maps` that is code from a file: `r-xp`, never written since it was mapped.
  static func mapping(_ line: some StringProtocol) -> Range<Int>? {
    let fields = line.split(separator: " ", omittingEmptySubsequences: true)
    guard fields.count >= 6, fields[1] == "r-xp", fields[4] != "0" else { return nil }
    let ends = fields[0].split(separator: "-").compactMap { Int($0, radix: 16) }
    guard ends.count == 2, ends[0] < ends[1] else { return nil }
    return ends[0]..<ends[1]
  }
}
