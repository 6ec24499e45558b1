/// Where a call belongs in its caller's trace: the `traceparent` field of W3C Trace Context, level 1.
package struct TraceParent: Hashable, Sendable {
  /// 32 lowercase hexadecimal digits.
  package let traceID: String
  /// 16 of them: the caller's span.
  package let spanID: String

  /// That of the call which this task answers.
  @TaskLocal package static var current: TraceParent?

  /// Nil where the text is not of that form, or names nothing.
  package init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    func isHex(_ part: some StringProtocol, _ count: Int) -> Bool {
      part.utf8.count == count && part.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }
    // A later version may have more parts behind these.
    guard parts.count >= 4, isHex(parts[0], 2), parts[0] != "ff", parts.count == 4 || parts[0] != "00",
      isHex(parts[1], 32), isHex(parts[2], 16), isHex(parts[3], 2), parts[1].contains(where: { $0 != "0" }),
      parts[2].contains(where: { $0 != "0" })
    else { return nil }
    traceID = String(parts[1])
    spanID = String(parts[2])
  }
}
