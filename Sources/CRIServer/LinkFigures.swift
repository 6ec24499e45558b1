internal import Kernel

/// What went over a pod's link, read at the node's end from the kernel's table of this network namespace.
///
/// /proc, and not /sys: a mount of sysfs shows the links of the namespace that it was mounted in, which need not be ours.
struct LinkFigures: Hashable, Sendable {
  struct Direction: Hashable, Sendable {
    var bytes: UInt64
    var packets: UInt64
    var errors: UInt64
    var drops: UInt64
  }
  var received: Direction
  var sent: Direction

  /// nil where there is no such link.
  static func read(_ link: String) -> LinkFigures? {
    LinkFigures(of: link, in: (try? Files.readText("/proc/thread-self/net/dev")).flatMap { $0 } ?? "")
  }

  /// A line is `NAME: ` with 8 numbers of what it received and 8 of what it sent.
  init?(of link: String, in table: String) {
    for line in table.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":"), line[..<colon].drop(while: { $0 == " " }) == link else { continue }
      let numbers = line[line.index(after: colon)...].split(separator: " ").map { UInt64($0) ?? 0 }
      guard numbers.count >= 12 else { return nil }
      func direction(_ start: Int) -> Direction {
        Direction(
          bytes: numbers[start], packets: numbers[start + 1], errors: numbers[start + 2], drops: numbers[start + 3])
      }
      received = direction(0)
      sent = direction(8)
      return
    }
    return nil
  }

  /// The other end's: what the node sent, the pod received.
  var seenFromPod: LinkFigures {
    var other = self
    (other.received, other.sent) = (sent, received)
    return other
  }
}
