import Kernel
import NIOCore
import NIOPosix
import Testing

@testable import Streaming

@Suite struct Base64Tests {
  @Test(arguments: ["", "a", "ab", "abc", "\u{0}\u{ff}~"]) func textComesBack(_ text: String) {
    let encoded = Base64Text.encode(text.utf8)
    #expect(encoded.count.isMultiple(of: 4))
    #expect(Base64Text.decode(encoded).map { String(decoding: $0, as: UTF8.self) } == text)
  }

  @Test(arguments: ["a=b=", "====", "\n", "ab-_", "a b c"]) func whatIsNoBase64IsRefused(_ text: String) {
    #expect(Base64Text.decode(text.utf8) == nil)
  }

  /// A client that has nothing but text: it sends a line and reads what comes back, byte for byte.
  @Test func channelsAreSpokenInText() async throws {
    let answer = try await withServer { server in
      let url = try server.url(for: request("head -n 1; exit 3"))
      let program = """
        import base64, os, socket, struct, sys, urllib.parse
        parts = urllib.parse.urlparse('\(url)')
        peer = socket.create_connection((parts.hostname, parts.port), timeout=20)
        peer.sendall((f'GET {parts.path} HTTP/1.1\\r\\nHost: {parts.netloc}\\r\\nConnection: Upgrade\\r\\n'
          'Upgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n'
          'Sec-WebSocket-Protocol: v4.base64.channel.k8s.io\\r\\n\\r\\n').encode())
        head = b''
        while b'\\r\\n\\r\\n' not in head: head += peer.recv(1)
        text = b'0' + base64.b64encode(b'hello\\n')
        peer.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
        def exactly(count):
          data = b''
          while len(data) < count:
            chunk = peer.recv(count - len(data))
            if not chunk: sys.exit('cut off')
            data += chunk
          return data
        while True:
          first, length = exactly(2)
          if length == 126: length = struct.unpack('>H', exactly(2))[0]
          body = exactly(length)
          if first & 15 == 8: break
          print(first & 15, chr(body[0]), base64.b64decode(body[1:]).decode().strip())
        """
      let outcome = try await ChildProcess.run(
        "/usr/bin/python3", arguments: ["python3", "-c", program], environment: ["PATH=/usr/bin:/bin"],
        timeoutSeconds: 30)
      return String(decoding: outcome.output + outcome.errorOutput, as: UTF8.self)
    }
    #expect(answer.contains("1 1 hello\n"))
    #expect(answer.contains("1 3 {") && answer.contains("\"message\":\"3\""))
  }
}
