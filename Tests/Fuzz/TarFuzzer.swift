import Glibc
@testable import Kernel

/// Unpacks archives in a file system of their own and looks whether anything changed beside the layer's directory.
///
/// MARTLET_FUZZ_DIRECTORY is an empty tmpfs, where the seeds' hostile names lead to `outside`.
private let place = String(cString: getenv("MARTLET_FUZZ_DIRECTORY"))
private let before = prepare()

private func prepare() -> [String] {
  umask(0)
  do {
    try Files.makeDirectories("\(place)/outside/inner")
    try Files.writeAtomically("\(place)/outside/file", Array("untouched".utf8))
    return try outside()
  } catch { fatalError("\(error)") }
}

/// Everything but the layer, with what could be changed of it.
private func outside() throws -> [String] {
  var found = try Directory(path: place).list().map(\.name).filter { $0 != "layer" && $0 != "archive" }.sorted()
  for name in ["outside", "outside/inner", "outside/file"] {
    let status = try Files.status("\(place)/\(name)")!
    found.append(
      "\(name) \(status.mode) \(status.owner) \(status.sizeBytes) \(status.links) \(status.modifiedNanoseconds)")
  }
  for name in ["outside", "outside/inner"] {
    found += try Directory(path: "\(place)/\(name)").list().map(\.name).sorted()
  }
  return found
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTar(_ data: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0 else { return 0 }
  let expected = before
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  do {
    try Files.makeDirectories("\(place)/layer")
    var limits = LayerLimits()
    limits.contentBytesMax = 8 << 20
    limits.reservedBytes = 0
    let path = try file(bytes)
    let stream = try ArchiveStream(
      .file(path: path, offset: 0), compression: ArchiveCompression(sniffing: Array(bytes.prefix(4))),
      declaredBytes: Int64(count), streamBytesMax: limits.contentBytesMax, stop: StopFlag(), progress: { _ in })
    let unpacker = LayerUnpacker(root: try Directory(path: "\(place)/layer"), stream: stream, limits: limits)
    _ = try unpacker.run()
  } catch is ArchiveError {} catch is SyscallError {} catch { fatalError("an error of no kind: \(error)") }
  do {
    let after = try outside()
    precondition(after == expected, "something outside the layer changed: \(after), was \(expected)")
    try LayerUnpack.remove("\(place)/layer")
  } catch { fatalError("\(error)") }
  return 0
}

private func file(_ bytes: [UInt8]) throws -> String {
  let path = "\(place)/archive"
  let file = try Files.open(path, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.truncate, mode: 0o600)
  try file.writeAll(bytes)
  return path
}

@_silgen_name("LLVMFuzzerMutate")
private func mutate(_ data: UnsafeMutablePointer<UInt8>, _ count: Int, _ countMax: Int) -> Int

/// Headers with a wrong checksum are refused at once: most changed archives get right ones.
@_cdecl("LLVMFuzzerCustomMutator")
public func mutateTar(_ data: UnsafeMutablePointer<UInt8>, _ count: Int, _ countMax: Int, _ seed: UInt32) -> Int {
  let size = mutate(data, count, countMax)
  guard seed % 8 != 0 else { return size }
  let bytes = UnsafeMutableBufferPointer(start: data, count: size)
  for start in stride(from: 0, to: size - 511, by: 512)
  where bytes[start + 257] == UInt8(ascii: "u") && bytes[start + 258] == UInt8(ascii: "s") {
    for index in 148..<156 { bytes[start + index] = 0x20 }
    var sum = bytes[start..<start + 512].reduce(0) { $0 + Int($1) }
    for index in (148..<154).reversed() {
      bytes[start + index] = UInt8(0x30 + sum % 8)
      sum /= 8
    }
    bytes[start + 154] = 0
  }
  return size
}
