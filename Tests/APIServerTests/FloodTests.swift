import HTTPServer
import JSON
import Testing

@testable import APIServer

/// What one user may have under way at a time.
@Suite struct FloodTests {
  private static func info(_ method: String, _ target: String) throws -> RequestInfo {
    let target = try #require(HTTPTarget(target))
    return RequestInfo(method: method, path: target.path, query: target.query)
  }

  private static let eve = UserInfo(name: "eve", groups: ["system:authenticated"])
  private static let bob = UserInfo(name: "bob", groups: ["system:authenticated"])
  private static let admin = UserInfo(name: "admin", groups: [UserInfo.mastersGroup])

  @Test func oneUserLeavesRoomForTheOthers() throws {
    let inFlight = InFlight(
      all: .init(reads: 4, writes: 4, watches: 4), ofUser: .init(reads: 2, writes: 1, watches: 1))
    let (read, write) = (try Self.info("GET", "/api/v1/pods"), try Self.info("POST", "/api/v1/namespaces"))
    let first = try #require(inFlight.enter(read, Self.eve))
    _ = try #require(inFlight.enter(read, Self.eve))
    #expect(inFlight.enter(read, Self.eve) == nil)
    let writing = try #require(inFlight.enter(write, Self.eve))
    #expect(inFlight.enter(write, Self.eve) == nil)
    let watching = try #require(inFlight.enterWatch(Self.eve))
    #expect(inFlight.enterWatch(Self.eve) == nil)
    _ = try #require(inFlight.enter(read, Self.bob))
    _ = try #require(inFlight.enter(write, Self.bob))
    _ = try #require(inFlight.enterWatch(Self.bob))
    first.leave()
    writing.leave()
    watching.leave()
    _ = try #require(inFlight.enter(read, Self.eve))
    _ = try #require(inFlight.enter(write, Self.eve))
    _ = try #require(inFlight.enterWatch(Self.eve))
    #expect(inFlight.current.reads == 3)
  }

  @Test func anAdministratorIsBoundedWithAllTogetherOnly() throws {
    let inFlight = InFlight(
      all: .init(reads: 3, writes: 1, watches: 1), ofUser: .init(reads: 1, writes: 0, watches: 0))
    let read = try Self.info("GET", "/api/v1/pods")
    for _ in 0..<3 { _ = try #require(inFlight.enter(read, Self.admin)) }
    #expect(inFlight.enter(read, Self.admin) == nil)
    #expect(inFlight.enter(read, Self.eve) == nil)
  }

  @Test func aStreamOfLogsOrShellsTakesNoPlace() throws {
    let inFlight = InFlight(
      all: .init(reads: 0, writes: 0, watches: 0), ofUser: .init(reads: 0, writes: 0, watches: 0))
    let log = try Self.info("GET", "/api/v1/namespaces/default/pods/p/log")
    let pass = try #require(inFlight.enter(log, Self.eve))
    pass.leave()
    #expect(inFlight.current.reads == 0)
  }

  @Test func theFloodIsToldToComeBackAndTheAdministratorIsNot() async throws {
    let world = try await TestServer { $0.writesOfUserMax = 0 }
    let review: JSONValue = ["spec": [:]]
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    let eve = HTTPPeer.certificate(commonName: "eve", organizations: [])
    let refused = try await world.send("POST", path, review, peer: eve)
    #expect(refused.status == 429, "\(refused.text)")
    #expect(refused.headers["retry-after"] == "1")
    #expect(refused.reason == "TooManyRequests")
    #expect(try await world.send("POST", path, ["spec": ["namespace": "default"]]).status == 201)
    try await world.stop()
  }
}
