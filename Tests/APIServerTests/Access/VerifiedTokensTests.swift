import JSON
import Testing

@testable import APIServer

@Suite struct VerifiedTokensTests {
  @Test func aTokenIsCheckedOnceUntilItEnds() throws {
    let tokens = VerifiedTokens()
    var checks = 0
    func look(_ now: Int64) -> JSONObject {
      tokens.claims(of: "token", now: now) { _ in
        checks += 1
        return ["exp": 100, "sub": "me"]
      }
    }
    for _ in 0..<3 { #expect(look(99)["sub"] == "me") }
    #expect(checks == 1)
    #expect(look(100)["sub"] == "me")
    #expect(look(100)["sub"] == "me")
    #expect(checks == 3, "what is over is not remembered")
    #expect(tokens.count == 0)
  }

  @Test func whatIsRefusedIsCheckedAnew() throws {
    struct Refused: Error {}
    let tokens = VerifiedTokens()
    var checks = 0
    for _ in 0..<3 {
      #expect(throws: Refused.self) {
        try tokens.claims(of: "bad", now: 0) { (_) throws(Refused) in
          checks += 1
          throw Refused()
        }
      }
    }
    #expect(checks == 3)
  }

  @Test func aFloodOfTokensTakesBoundedMemoryAndWhatIsUsedStays() {
    let tokens = VerifiedTokens()
    let length = 1000
    var checks = 0
    for number in 0..<10_000 {
      let name = "\(number)"
      _ = tokens.claims(of: name + String(repeating: "x", count: length - name.utf8.count), now: 0) { _ in [:] }
      _ = tokens.claims(of: "used", now: 0) { _ in
        checks += 1
        return [:]
      }
    }
    #expect(checks == 1)
    #expect(tokens.count <= 2 * VerifiedTokens.generationBytesMax / length)
  }
}
