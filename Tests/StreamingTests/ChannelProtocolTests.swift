import Streaming
import Testing

@testable import CRIClient

@Suite struct ChannelProtocolTests {
  @Test func theNewestCommonProtocolIsChosen() {
    #expect(ChannelProtocol.best(of: ["v4.channel.k8s.io, v5.channel.k8s.io"]) == .v5)
    #expect(ChannelProtocol.best(of: ["channel.k8s.io", "v4.channel.k8s.io"]) == .v4)
    #expect(ChannelProtocol.best(of: ["channel.k8s.io"]) == .v1)
    #expect(ChannelProtocol.best(of: ["base64.channel.k8s.io", "soap"]) == .v1Base64)
    #expect(ChannelProtocol.best(of: ["channel.k8s.io", "v4.base64.channel.k8s.io"]) == .v4Base64)
    #expect(ChannelProtocol.best(of: ["soap"]) == nil)
    #expect(ChannelProtocol.best(of: []) == nil)
  }

  @Test(arguments: [ChannelProtocol.v5, .v4, .v1]) func exitCodesSurviveTheWayThroughBothEnds(
    _ proto: ChannelProtocol
  ) throws {
    let other = try #require(StreamingProtocol(rawValue: proto.rawValue))
    for code: Int32 in [0, 1, 3, 127, 255] {
      #expect(StreamingOutcome(message: StreamEnd.exited(code).message(in: proto), in: other) == .exited(code))
    }
    #expect(StreamingOutcome(message: StreamEnd.exited(nil).message(in: proto), in: other) == .exited(0))
    let failure = StreamingOutcome(message: StreamEnd.failed("no such thing").message(in: proto), in: other)
    #expect(failure == .failed("no such thing"))
  }

  @Test func theStatusIsAKubernetesStatus() {
    let text = String(decoding: StreamEnd.exited(3).message(in: .v5), as: UTF8.self)
    #expect(
      text
        == #"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","#
        + #""reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#)
    #expect(
      String(decoding: StreamEnd.exited(0).message(in: .v4), as: UTF8.self) == #"{"metadata":{},"status":"Success"}"#)
  }

  @Test(arguments: [
    "", "{}", "[80,24]", #"{"Width":-1,"Height":2}"#, #"{"Width":70000,"Height":2}"#, #"{"Width":"8","Height":2}"#,
  ])
  func nonsenseIsNoTerminalSize(_ text: String) {
    #expect(TerminalSize(message: Array(text.utf8)) == nil)
  }

  @Test func aTerminalSizeIsRead() {
    #expect(TerminalSize(message: Array(#"{"Width":132,"Height":43}"#.utf8)) == TerminalSize(columns: 132, rows: 43))
  }

  @Test func aStatusThatIsNoJSONIsAFailureThatSaysSo() {
    guard case .failed(let message) = StreamingOutcome(message: Array("oops".utf8), in: .v5) else {
      Issue.record("taken for an exit")
      return
    }
    #expect(message.contains("oops"))
  }

  @Test(arguments: [
    ("http://127.0.0.1:4000/exec/a", "127.0.0.1", 4000, "/exec/a"), ("http://[::1]:4000/x?y=1", "::1", 4000, "/x?y=1"),
    ("ws://host", "host", 80, "/"),
  ])
  func streamingURLsAreTakenApart(_ url: String, _ host: String, _ port: Int, _ path: String) throws {
    let parsed = try StreamingURL(url)
    #expect((parsed.host, parsed.port, parsed.path) == (host, port, path))
  }

  @Test(arguments: ["https://host/x", "http://", "http://:80/", "http://h:0/", "http://h:99999/", "/exec"])
  func otherURLsAreRefused(_ url: String) {
    #expect(throws: StreamingClientError.self) { try StreamingURL(url) }
  }
}
