// A ticket, a claim, its result. Needs nothing but Java 17 or newer.
//
// kotlinc Claim.kt -include-runtime -d claim.jar
// COUPONS=http://localhost:8080 SHOP_KEY=shop.pem java -jar claim.jar USER COUPON
import java.net.URI
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse
import java.nio.file.Files
import java.nio.file.Path
import java.security.KeyFactory
import java.security.PrivateKey
import java.security.Signature
import java.security.spec.PKCS8EncodedKeySpec
import java.time.Duration
import java.time.Instant
import java.util.Base64

val coupons: String = System.getenv("COUPONS")
val key: PrivateKey = privateKey(Path.of(System.getenv("SHOP_KEY")))
val client: HttpClient = HttpClient.newHttpClient()

fun privateKey(file: Path): PrivateKey {
    val pem = Files.readAllLines(file).filterNot { it.startsWith("-----") }.joinToString("")
    return KeyFactory.getInstance("RSA").generatePrivate(PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)))
}

fun base64url(bytes: ByteArray): String = Base64.getUrlEncoder().withoutPadding().encodeToString(bytes)

/** Your login signs it, for the user who is logged in. */
fun ticket(userId: Long): String {
    val expires = Instant.now().epochSecond + 300
    val claims = """{"sub":"$userId","exp":$expires,"iss":"https://login.example.com","aud":"coupons"}"""
    val signed = base64url("""{"alg":"RS256","typ":"JWT"}""".toByteArray()) + "." + base64url(claims.toByteArray())
    val signature = Signature.getInstance("SHA256withRSA")
    signature.initSign(key)
    signature.update(signed.toByteArray())
    return signed + "." + base64url(signature.sign())
}

fun ask(method: String, path: String, token: String): HttpResponse<String> {
    val request = HttpRequest.newBuilder(URI.create(coupons + path))
        .method(method, HttpRequest.BodyPublishers.noBody())
        .header("Authorization", "Bearer $token")
        .header("Accept-Language", "en")
        .timeout(Duration.ofSeconds(40))
        .build()
    return client.send(request, HttpResponse.BodyHandlers.ofString())
}

/** A field of the answer; your application has a JSON library for this. */
fun field(json: String, name: String): String? =
    Regex(""""$name":(?:"([^"]*)"|([0-9.]+))""").find(json)?.groupValues?.drop(1)?.firstOrNull { it.isNotEmpty() }

/** The request's final status, or the refusal. */
fun claim(userId: Long, couponId: Long): String {
    val path = "/api/coupons/$couponId/issue?userId=$userId"
    var answer = ask("POST", path, ticket(userId))
    while (answer.statusCode() == 503) { // nothing is lost, and nothing is claimed twice
        Thread.sleep(1000 * answer.headers().firstValue("Retry-After").orElse("2").toLong())
        answer = ask("POST", path, ticket(userId))
    }
    if (answer.statusCode() != 202) return answer.body()
    val location = answer.headers().firstValue("Location").get()
    var result = """{"status":"PENDING"}"""
    while (field(result, "status") == "PENDING") {
        Thread.sleep((1000 * (field(result, "etaSeconds") ?: "0").toDouble()).toLong().coerceIn(200, 5000))
        result = ask("GET", location, ticket(userId)).body()
    }
    return result
}

fun main(arguments: Array<String>) {
    val result = claim(arguments[0].toLong(), arguments[1].toLong())
    val what = field(result, "code") ?: field(result, "status")
    println("$what ${field(result, "userCouponId") ?: field(result, "reason") ?: ""}")
}
