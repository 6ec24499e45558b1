import CRIClient
import Kernel
import Logging
import NIOCore
import NIOPosix
import Streaming
import Synchronization

/// A program behind a stream, and what the session asked of it.
final class TestProcess: Sendable {
  let child: ChildProcess
  let sizes = Mutex<[TerminalSize]>([])
  let abandoned = Atomic<Bool>(false)
  let inputEnded = Atomic<Bool>(false)

  init(_ child: consuming ChildProcess) { self.child = child }

  /// Starts `sh -c script` on three pipes.
  static func shell(_ script: String, onStart: (TestProcess) -> Void) throws -> StreamedProcess {
    var input = try Pipe()
    var output = try Pipe()
    var errors = try Pipe()
    let childIn = input.takeReadEnd()
    let childOut = output.takeWriteEnd()
    let childErr = errors.takeWriteEnd()
    let process = TestProcess(
      try ChildProcess.start(
        "/bin/sh", arguments: ["sh", "-c", script], environment: ["PATH=/usr/bin:/bin"],
        stdio: [childIn.withRaw { $0 }, childOut.withRaw { $0 }, childErr.withRaw { $0 }]))
    onStart(process)
    return StreamedProcess(
      input: input.takeWriteEnd(), output: output.takeReadEnd(), errors: errors.takeReadEnd(),
      resize: { size in process.sizes.withLock { $0.append(size) } },
      endInput: { process.inputEnded.store(true, ordering: .relaxed) },
      abandon: {
        process.abandoned.store(true, ordering: .relaxed)
        try? process.child.signal(9)
      },
      wait: { try await onFreshThread { () throws(SyscallError) in try process.child.wait().code } })
  }
}

struct HandlerFailure: Error, CustomStringConvertible {
  let description: String
}

/// A server whose URLs run shell scripts, for as long as `body` runs.
@discardableResult
func withServer<R: Sendable>(
  _ change: (inout StreamingServer.Configuration) -> Void = { _ in },
  onStart: @Sendable @escaping (TestProcess) -> Void = { _ in },
  _ body: @Sendable @escaping (StreamingServer) async throws -> R
) async throws -> R {
  var configuration = StreamingServer.Configuration()
  configuration.drainQuiet = .milliseconds(300)
  change(&configuration)
  let handlers = StreamingHandlers(
    exec: { _, command in
      guard command.count == 1 else { throw HandlerFailure(description: "container 1 is gone") }
      return try TestProcess.shell(command[0], onStart: onStart)
    },
    attach: { _ in throw HandlerFailure(description: "attach is not what this tests") },
    dial: { _, port in try LoopbackSocket.connect(port: port) })
  let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  let server = try await StreamingServer.bind(configuration, handlers: handlers, logger: logger)
  return try await withThrowingTaskGroup(of: R?.self) { group in
    group.addTask {
      try await server.run()
      return nil
    }
    group.addTask { try await body(server) }
    defer { group.cancelAll() }
    while let result = try await group.next() {
      if let result { return result }
    }
    throw CancellationError()
  }
}

func request(_ script: String...) -> StreamRequest {
  StreamRequest(
    kind: .exec(command: script), containerID: "1", terminal: false, input: true, output: true, errors: true)
}

/// What a session brought back.
final class Collected: Sendable {
  let output = Mutex<[UInt8]>([])
  let errors = Mutex<[UInt8]>([])

  func take(_ stream: StreamingOutput, _ bytes: ArraySlice<UInt8>) {
    switch stream {
    case .output: output.withLock { $0 += bytes }
    case .errors: errors.withLock { $0 += bytes }
    }
  }

  var text: String { String(decoding: output.withLock { $0 }, as: UTF8.self) }
  var errorText: String { String(decoding: errors.withLock { $0 }, as: UTF8.self) }
}

/// A connection that speaks bytes, to say what no client would.
func rawExchange(_ url: String, _ text: (_ host: String, _ path: String) -> String) async throws -> String {
  let rest = url.dropFirst("http://".count)
  let slash = rest.firstIndex(of: "/") ?? rest.endIndex
  let (host, path) = (String(rest[..<slash]), String(rest[slash...]))
  let port = Int(host.split(separator: ":").last ?? "") ?? 0
  let bytes = text(host, path)
  let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
    .connect(host: "127.0.0.1", port: port) { channel in
      channel.eventLoop.makeCompletedFuture {
        try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
      }
    }
  return try await channel.executeThenClose { inbound, outbound in
    if !bytes.isEmpty { try await outbound.write(ByteBuffer(string: bytes)) }
    var answer = ""
    for try await part in inbound {
      answer += String(buffer: part)
      if answer.contains("\r\n\r\n") { break }
    }
    return answer
  }
}

func upgradeRequest(_ host: String, _ path: String, extra: String = "", proto: String = "v5.channel.k8s.io") -> String {
  "GET \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    + "Sec-WebSocket-Protocol: \(proto)\r\n\(extra)\r\n"
}
