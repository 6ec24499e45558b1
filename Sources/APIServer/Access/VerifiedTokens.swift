import JSON
import Synchronization

/// What tokens claim whose signature has been checked: checking one costs more than all else that a request needs.
///
/// Only the signature is remembered. Time, audience and what a token is bound to are looked at with every request, so what
/// is revoked is revoked at once. Two generations, as those of `EncodedObjects`: what is used again and again stays.
final class VerifiedTokens: Sendable {
  /// Bytes of tokens in each of the two generations; their claims take as much again.
  static let generationBytesMax = 1 << 20

  fileprivate struct State {
    var young: [String: JSONObject] = [:]
    var old: [String: JSONObject] = [:]
    var youngBytes = 0
  }

  private let state = Mutex(State())

  /// The claims of a token: remembered, or else what `check` finds, which is remembered until the token ends.
  /// - Parameter now: seconds since 1970.
  func claims<Failure: Error>(
    of token: String, now: Int64, check: (String) throws(Failure) -> JSONObject
  ) throws(Failure) -> JSONObject {
    if let known = state.withLock({ $0.find(token, now: now) }) { return known }
    let claims = try check(token)
    state.withLock { $0.keep(token, claims, now: now) }
    return claims
  }

  /// Tokens that are remembered, for tests.
  var count: Int { state.withLock { Set($0.young.keys).union($0.old.keys).count } }
}

extension VerifiedTokens.State {
  mutating func find(_ token: String, now: Int64) -> JSONObject? {
    if let claims = young[token] {
      if !Self.isOver(claims, now) { return claims }
      youngBytes -= token.utf8.count
      young[token] = nil
      return nil
    }
    guard let claims = old.removeValue(forKey: token), !Self.isOver(claims, now) else { return nil }
    keep(token, claims, now: now)
    return claims
  }

  mutating func keep(_ token: String, _ claims: JSONObject, now: Int64) {
    guard !Self.isOver(claims, now), young[token] == nil else { return }
    if youngBytes + token.utf8.count > VerifiedTokens.generationBytesMax {
      old = young
      young = [:]
      youngBytes = 0
    }
    young[token] = claims
    youngBytes += token.utf8.count
  }

  /// Tokens of Secrets have no end.
  private static func isOver(_ claims: JSONObject, _ now: Int64) -> Bool {
    claims["exp"]?.integer.map { now >= $0 } ?? false
  }
}
