internal import CSecurity

/// Capabilities as libcap and the running kernel know them.
package enum Capabilities {
  /// The number of "CAP_CHOWN", or nil where libcap has no such one.
  package static func number(_ name: String) -> Int? {
    let number = unsafe csecurity_capability_number(name.lowercased())
    return number < 0 ? nil : Int(number)
  }

  /// The highest number that the running kernel has.
  package static var last: Int { Int(csecurity_capability_last()) }
}
