import HTTPServer
import JSON
import KubePresentation
import Synchronization

/// A document with the name of its content.
final class CachedDocument: Sendable {
  let bytes: [UInt8]
  let hash: String
  let mediaType: String

  init(_ bytes: [UInt8], mediaType: String = "application/json") {
    self.bytes = bytes
    self.mediaType = mediaType
    hash = ContentHash.of(bytes)
  }
}

/// Documents that are made when they are first asked for, and then kept: they change with the program only.
final class DocumentCache: Sendable {
  private let documents = Mutex<[String: CachedDocument]>([:])

  /// - Parameter make: runs outside the lock, since it may take some tens of milliseconds; two who ask at the same time
  ///   may both make the document.
  func document(_ name: String, _ make: () -> CachedDocument?) -> CachedDocument? {
    if let known = documents.withLock({ $0[name] }) { return known }
    guard let made = make() else { return nil }
    return documents.withLock { documents in
      if let known = documents[name] { return known }
      documents[name] = made
      return made
    }
  }
}

extension CachedDocument {
  /// The document, or 304 for who has it already.
  func response(to request: HTTPRequest, cacheControl: String = "public") -> HTTPResponse {
    let headers: HTTPFields = ["ETag": "\"\(hash)\"", "Vary": "Accept", "Cache-Control": cacheControl]
    if isKnown(request) { return HTTPResponse(status: 304, headers: headers) }
    var response = HTTPResponse(status: 200, headers: headers, body: .bytes(bytes))
    response.headers["Content-Type"] = mediaType
    return response
  }

  private func isKnown(_ request: HTTPRequest) -> Bool {
    request.headers.tokens("if-none-match").contains { token in
      let tag = token.hasPrefix("W/") ? String(token.dropFirst(2)) : token
      return tag == "*" || tag == "\"\(hash)\""
    }
  }
}
