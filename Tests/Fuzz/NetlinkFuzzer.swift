@testable import Kernel

/// Splits bytes into messages and reads every attribute of each, however they are nested, as those who ask the kernel do.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzNetlink(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  var total = 0
  // A slice that does not begin at zero, so that an offset from the wrong start shows.
  for message in NetlinkSocket.split(([0, 0, 0] + bytes)[3...]) { total &+= walk(message.body, depth: 0) }
  return total == Int.min ? 1 : 0
}

private func walk(_ view: NetlinkView, depth: Int) -> Int {
  var total = view.text.utf8.count
  total &+= Int(view.number(at: 0, as: UInt8.self) ?? 0) &+ Int(view.number(at: 2, as: UInt16.self) ?? 0)
  total &+= Int(truncatingIfNeeded: view.number(at: 4, as: UInt64.self) ?? 0)
  // Fixed headers of the families, then attributes.
  for header in [0, 4, 12, 16, 20] {
    guard depth < 3, let rest = view.dropping(header) else { continue }
    for attribute in rest.attributes() { total &+= walk(attribute.value, depth: depth + 1) }
  }
  return total
}
