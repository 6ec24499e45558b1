import JSON

/// Whatever bytes come, the parser answers; what it takes is written so that it reads as the same again.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  guard let value = try? JSONValue.parse(bytes) else { return 0 }
  for written in [value.encoded(), value.encoded(pretty: true)] {
    guard let again = try? JSONValue.parse(written) else {
      fatalError("what was written cannot be read: \(String(decoding: written, as: UTF8.self))")
    }
    precondition(again == value, "reads as another value: \(String(decoding: written, as: UTF8.self))")
  }
  return 0
}
