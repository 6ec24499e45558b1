/// When the log of a container is begun anew, and which older parts are kept. As `containerLogMaxSize` and
/// `containerLogMaxFiles` of a kubelet.
package struct LogRotation: Hashable, Sendable {
  /// Bytes of the part that is being written.
  package var bytesMax: Int64 = 10 << 20
  /// Parts of one run of a container, that one included.
  package var filesMax = 5

  package init() {}

  /// What the part that is full is called: names sort by time, and two of one millisecond do not collide.
  package static func name(of log: String, at nanoseconds: Int64) -> String {
    let digits = String(nanoseconds)
    return "\(log).\(String(repeating: "0", count: max(0, 20 - digits.count)))\(digits)"
  }

  /// Of the files of a directory, those older parts of `log` that go so that there is room for one more.
  package func surplus(of log: String, among names: [String]) -> [String] {
    let parts = names.filter { name in
      name.hasPrefix("\(log).") && name.dropFirst(log.count + 1).allSatisfy { $0.isASCII && $0.isNumber }
    }.sorted()
    return Array(parts.dropLast(max(0, filesMax - 2)))
  }
}
