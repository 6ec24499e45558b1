import HTTPServer
import JSON
import PKI
import Testing

@testable import APIServer

/// Tokens of service accounts, as clients get and bring them.
@Suite struct TokenAccessTests {
  static let accounts = "/api/v1/namespaces/default/serviceaccounts"
  static let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

  static func bearer(_ token: String) -> HTTPFields { ["Authorization": "Bearer \(token)"] }

  private func token(
    _ world: TestServer, _ spec: JSONObject = [:], account: String = "default", peer: HTTPPeer = .process
  ) async throws -> TestServer.Answer {
    try await world.send(
      "POST", "\(Self.accounts)/\(account)/token", ["spec": .object(spec)], peer: peer)
  }

  private func user(_ world: TestServer, _ token: String) async throws -> TestServer.Answer {
    try await world.send("POST", Self.whoami, [:], peer: .anonymous, headers: Self.bearer(token))
  }

  @Test func aTokenSaysWhoItsBearerIs() async throws {
    let world = try await TestServer()
    let answer = try await token(world, ["expirationSeconds": 900])
    #expect(answer.status == 201, "\(answer.text)")
    #expect(answer.json["status"]?["expirationTimestamp"] == .string(ObjectNames.time(TestServer.start + 900)))
    #expect(answer.json["spec"]?["audiences"] == [.string(TokenAuthority.usualIssuer)])
    let text = try #require(answer.json["status"]?["token"]?.string)
    let who = try await user(world, text)
    #expect(who.status == 201, "\(who.text)")
    let info = who.json["status"]?["userInfo"]
    #expect(info?["username"] == "system:serviceaccount:default:default")
    #expect(
      info?["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    #expect(info?["uid"]?.string?.isEmpty == false)
    #expect(info?["extra"]?["authentication.kubernetes.io/credential-id"]?[0]?.string?.hasPrefix("JTI=") == true)
    let claims = try world.server.access.tokens.keys.claims(of: text)
    #expect(claims["kubernetes.io"]?["serviceaccount"]?["name"] == "default")
    #expect(claims["exp"] == .integer(TestServer.start + 900) && claims["sub"] == info?["username"])
    try await world.stop()
  }

  @Test func aTokenEndsWithItsTime() async throws {
    let world = try await TestServer()
    let text = try #require(try await token(world, ["expirationSeconds": 600]).json["status"]?["token"]?.string)
    world.advance(seconds: 599)
    #expect(try await user(world, text).status == 201)
    world.advance(seconds: 1)
    let late = try await user(world, text)
    #expect(late.status == 401 && late.reason == "Unauthorized")
    try await world.stop()
  }

  @Test func aTokenForOthersIsNotForThisServer() async throws {
    let world = try await TestServer()
    let text = try #require(try await token(world, ["audiences": ["vault"]]).json["status"]?["token"]?.string)
    #expect(try await user(world, text).status == 401)
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    let known = try await world.send("POST", reviews, ["spec": ["token": .string(text), "audiences": ["vault", "x"]]])
    #expect(known.json["status"]?["authenticated"] == true, "\(known.text)")
    #expect(known.json["status"]?["audiences"] == ["vault"])
    let unknown = try await world.send("POST", reviews, ["spec": ["token": .string(text)]])
    #expect(unknown.status == 201 && unknown.json["status"]?["authenticated"] == nil)
    #expect(unknown.json["status"]?["error"]?.string?.contains("audiences") == true, "\(unknown.text)")
    #expect(try await world.send("POST", reviews, ["spec": [:]]).status == 400)
    try await world.stop()
  }

  @Test func aTokenEndsWithItsAccount() async throws {
    let world = try await TestServer()
    try await world.send("POST", Self.accounts, ["metadata": ["name": "robot"]])
    let text = try #require(try await token(world, account: "robot").json["status"]?["token"]?.string)
    #expect(try await user(world, text).status == 201)
    try await world.send("DELETE", "\(Self.accounts)/robot")
    #expect(try await user(world, text).status == 401)
    try await world.send("POST", Self.accounts, ["metadata": ["name": "robot"]])
    #expect(try await user(world, text).status == 401, "an account of the same name is another one")
    try await world.stop()
  }

  @Test func aTokenEndsWithWhatItIsBoundTo() async throws {
    let world = try await TestServer()
    try await world.send("POST", "/api/v1/namespaces/default/secrets", ["metadata": ["name": "s"]])
    let bound = ["boundObjectRef": ["kind": "Secret", "apiVersion": "v1", "name": "s"]] as JSONObject
    let text = try #require(try await token(world, bound).json["status"]?["token"]?.string)
    #expect(try await user(world, text).status == 201)
    try await world.send("DELETE", "/api/v1/namespaces/default/secrets/s")
    #expect(try await user(world, text).status == 401)
    try await world.stop()
  }

  private static func pod(_ name: String, node: String) -> JSONValue {
    [
      "metadata": ["name": .string(name)],
      "spec": ["nodeName": .string(node), "containers": [["name": "c", "image": "i"]]],
    ]
  }

  @Test func aNodeAsksForTokensOfItsPodsOnly() async throws {
    let world = try await TestServer()
    let pods = "/api/v1/namespaces/default/pods"
    #expect(try await world.send("POST", pods, Self.pod("mine", node: "n1")).status == 201)
    #expect(try await world.send("POST", pods, Self.pod("other", node: "n2")).status == 201)
    let uid = try await world.send("GET", "\(pods)/mine").json["metadata"]?["uid"] ?? .null
    let node = HTTPPeer.certificate(commonName: "system:node:n1", organizations: ["system:nodes"])
    func bound(_ name: String, _ uid: JSONValue?) -> JSONObject {
      var reference: JSONObject = ["kind": "Pod", "apiVersion": "v1", "name": .string(name)]
      reference["uid"] = uid
      return ["boundObjectRef": .object(reference)]
    }
    let answer = try await token(world, bound("mine", uid), peer: node)
    #expect(answer.status == 201, "\(answer.text)")
    let text = try #require(answer.json["status"]?["token"]?.string)
    let extra = try await user(world, text).json["status"]?["userInfo"]?["extra"]
    #expect(extra?["authentication.kubernetes.io/pod-name"] == ["mine"])
    #expect(extra?["authentication.kubernetes.io/node-name"] == ["n1"])
    for (spec, words) in [
      ([:], "not bound to a pod"), (bound("mine", nil), "without a uid"),
      (bound("other", try await world.send("GET", "\(pods)/other").json["metadata"]?["uid"]), "different node"),
    ] as [(JSONObject, String)] {
      let refused = try await token(world, spec, peer: node)
      #expect(refused.status == 403 && refused.message.contains(words), "\(refused.text)")
    }
    let stranger = HTTPPeer.certificate(commonName: "system:node:n3", organizations: ["system:nodes"])
    let refused = try await token(world, bound("mine", uid), peer: stranger)
    #expect(refused.status == 403 && refused.message.contains("no relationship found"), "\(refused.text)")
    try await world.send("DELETE", "\(pods)/mine?gracePeriodSeconds=0")
    #expect(try await user(world, text).status == 401)
    try await world.stop()
  }

  private static let wrong: [(JSONObject, Int, String)] = [
    (["expirationSeconds": 599], 422, "may not specify a duration less than 10 minutes"),
    (["expirationSeconds": 4_294_967_297], 422, "may not specify a duration larger than 2^32 seconds"),
    (["boundObjectRef": ["kind": "Pod", "apiVersion": "v1", "name": "none"]], 404, "pods \"none\" not found"),
    (["boundObjectRef": ["kind": "ConfigMap", "apiVersion": "v1", "name": "x"]], 400, "cannot bind token to object"),
    (["boundObjectRef": ["kind": "Secret", "apiVersion": "v1", "name": "../default/s"]], 404, "not found"),
    (["nonsense": 1], 201, ""),
  ]

  @Test(arguments: wrong) func whatCannotBeSignedIsSaid(_ spec: JSONObject, _ code: Int, _ words: String) async throws {
    let world = try await TestServer()
    let answer = try await token(world, spec)
    #expect(answer.status == code && answer.message.contains(words), "\(answer.text)")
    #expect(try await token(world, account: "none").status == 404)
    try await world.stop()
  }

  /// Whatever is sent as a token that is none: 401, and the same words.
  @Test func hostileTokensLetNobodyIn() async throws {
    let world = try await TestServer()
    let good = try #require(try await token(world).json["status"]?["token"]?.string)
    let stranger = try TokenKeys.ephemeral().sign(try world.server.access.tokens.keys.claims(of: good))
    var noEnd = try world.server.access.tokens.keys.claims(of: good)
    noEnd["exp"] = nil
    var early = try world.server.access.tokens.keys.claims(of: good)
    early["nbf"] = .integer(TestServer.start + 100)
    var other = try world.server.access.tokens.keys.claims(of: good)
    other["sub"] = "system:serviceaccount:kube-system:default"
    var masters = try world.server.access.tokens.keys.claims(of: good)
    masters["iss"] = "https://elsewhere"
    let keys = world.server.access.tokens.keys
    let hostile = [
      "x", "a.b.c", String(good.dropLast(8)), stranger, try keys.sign(noEnd), try keys.sign(early),
      try keys.sign(other), try keys.sign(masters), String(repeating: "a.", count: 40_000), "abcdef.0123456789abcdef",
      good + " extra",
    ]
    for text in hostile {
      let answer = try await user(world, text)
      #expect(answer.status == 401 && answer.message == "Unauthorized", "\(text.prefix(60))")
    }
    for header in ["Basic YTpi", "Bearer", "Bearer ", "bearer\(good)", ""] {
      let answer = try await world.send(
        "GET", "/api/v1/pods", peer: .anonymous, headers: ["Authorization": header])
      #expect(answer.status == 401, "\(header.prefix(20))")
    }
    #expect(try await user(world, good).status == 201)
    try await world.stop()
  }

  @Test func aBootstrapTokenIsOfBootstrappers() async throws {
    let world = try await TestServer()
    func put(_ changes: [String: String]) async throws {
      var data = [
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:workers",
      ]
      for (key, value) in changes { data[key] = value }
      let secret: JSONValue = [
        "metadata": ["name": "bootstrap-token-abcdef"], "type": "bootstrap.kubernetes.io/token",
        "stringData": JSONValue(data),
      ]
      try await world.send("DELETE", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef")
      let answer = try await world.send("POST", "/api/v1/namespaces/kube-system/secrets", secret)
      #expect(answer.status == 201, "\(answer.text)")
    }
    try await put([:])
    let who = try await user(world, "abcdef.0123456789abcdef")
    #expect(who.json["status"]?["userInfo"]?["username"] == "system:bootstrap:abcdef", "\(who.text)")
    #expect(
      who.json["status"]?["userInfo"]?["groups"]
        == ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"])
    #expect(try await user(world, "abcdef.0123456789abcdee").status == 401)
    #expect(try await user(world, "abcdeg.0123456789abcdef").status == 401)
    for changes in [
      ["usage-bootstrap-authentication": "false"], ["expiration": "2020-01-01T00:00:00Z"], ["expiration": "soon"],
      ["auth-extra-groups": "system:masters"], ["token-id": "other1"],
    ] {
      try await put(changes)
      #expect(try await user(world, "abcdef.0123456789abcdef").status == 401, "\(changes)")
    }
    try await world.stop()
  }

  @Test func othersMayCheckTokensThemselves() async throws {
    let world = try await TestServer()
    let text = try #require(try await token(world).json["status"]?["token"]?.string)
    let found = try await world.send(
      "GET", "/.well-known/openid-configuration", peer: .anonymous, headers: Self.bearer(text))
    #expect(found.status == 200 && found.json["issuer"] == .string(TokenAuthority.usualIssuer), "\(found.text)")
    #expect(found.json["jwks_uri"]?.string?.hasSuffix("/openid/v1/jwks") == true)
    let keys = try await world.send("GET", "/openid/v1/jwks", peer: .anonymous, headers: Self.bearer(text))
    #expect(keys.headers["content-type"] == "application/jwk-set+json")
    #expect(keys.json["keys"]?[0]?["crv"] == "P-256")
    #expect(try await world.send("GET", "/openid/v1/jwks", peer: .anonymous).status == 401)
    #expect(try await world.send("GET", "/openid/v2/keys").status == 404)
    try await world.stop()
  }
}
