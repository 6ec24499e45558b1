import CRIClient
import Glibc
import Kernel
import TestSupport
import Testing

/// A server that greets in HTTP/2 and then pings, as servers written in Go do.
private func pings(_ count: Int, at path: String, answered: AsyncStream<Int>.Continuation) {
  let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(listener) }
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
  let bound = withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
  guard bound == 0, listen(listener, 1) == 0 else { return answered.finish() }
  let peer = accept(listener, nil, nil)
  defer { close(peer) }
  var bytes: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]
  for number in 0..<count {
    bytes += [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, UInt8(number >> 8), UInt8(number & 0xff)]
  }
  // In odd pieces: frames come as they like.
  for start in stride(from: 0, to: bytes.count, by: 1001) {
    let part = Array(bytes[start..<min(bytes.count, start + 1001)])
    guard write(peer, part, part.count) == part.count else { return answered.finish() }
  }
  var got: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 65_536)
  while true {
    let length = read(peer, &piece, piece.count)
    guard length > 0 else { break }
    got += piece[..<length]
    var (answers, index) = (0, 24)
    while index + 9 <= got.count {
      let size = Int(got[index]) << 16 | Int(got[index + 1]) << 8 | Int(got[index + 2])
      guard index + 9 + size <= got.count else { break }
      // GOAWAY: it has had enough of us.
      if got[index + 3] == 7 { return answered.finish() }
      if got[index + 3] == 6, got[index + 4] == 1 { answers += 1 }
      index += 9 + size
    }
    answered.yield(answers)
    if answers == count { break }
  }
  answered.finish()
}

@Suite struct PingTests {
  @Test(.timeLimit(.minutes(1))) func aServerMayPingAsOftenAsItLikes() async throws {
    let scratch = try TestDirectory()
    let path = "\(scratch.path)/s"
    let (answers, continuation) = AsyncStream.makeStream(of: Int.self)
    async let server: Void = onFreshThread { pings(1000, at: path, answered: continuation) }
    while !Files.exists(path) { try await Task.sleep(for: .milliseconds(5)) }
    let client = try CRIClient(socketPath: path)
    let running = Task { try? await client.run() }
    let call = Task { try? await client.version() }
    var last = 0
    for await count in answers { last = count }
    #expect(last == 1000)
    call.cancel()
    running.cancel()
    await server
    try scratch.remove()
  }
}
