/// A line of /proc/self/mountinfo: proc_pid_mountinfo(5).
package struct MountInfo: Hashable, Sendable {
  package let id: Int
  package let parent: Int
  /// The directory of the file system that is mounted.
  package let root: String
  package let mountPoint: String
  package let options: [String]
  package let fileSystem: String
  package let source: String
  package let superOptions: [String]

  /// The mounts that this process sees, in the kernel's order.
  package static func current() throws(SyscallError) -> [MountInfo] {
    parse(String(decoding: try Files.read("/proc/self/mountinfo"), as: UTF8.self))
  }

  /// Lines that are not of the documented form are left out.
  package static func parse(_ text: String) -> [MountInfo] { text.split(separator: "\n").compactMap(parse(line:)) }

  private static func parse(line: Substring) -> MountInfo? {
    let fields = line.split(separator: " ", omittingEmptySubsequences: false)
    guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count >= dash + 4,
      let id = Int(fields[0]), let parent = Int(fields[1])
    else { return nil }
    return MountInfo(
      id: id, parent: parent, root: unescape(fields[3]), mountPoint: unescape(fields[4]),
      options: fields[5].split(separator: ",").map(String.init), fileSystem: String(fields[dash + 1]),
      source: unescape(fields[dash + 2]), superOptions: fields[dash + 3].split(separator: ",").map(String.init))
  }

  /// Blanks and backslashes stand as three octal digits.
  private static func unescape(_ field: Substring) -> String {
    guard field.contains("\\") else { return String(field) }
    var bytes: [UInt8] = []
    var rest = Array(field.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
