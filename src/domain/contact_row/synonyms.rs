//! Words by which columns are recognised, in several languages, without case, accents, blanks and signs.

use super::columns::Field;

/// Headers that mean this field, the surest first.
pub(super) fn synonyms(field: Field) -> impl Iterator<Item = &'static str> {
    let words = match field {
        Field::Phone => PHONE,
        Field::Extension => "extension ext extn phoneextension phoneext telephoneextension extensionnumber",
        Field::Name => {
            "name fullname contactname customername displayname clientname patientname contact nomcomplet \
             nombrecompleto nomecompleto nomeecognome vorundnachname namn naam nimi nombre nome имя 姓名 名前 氏名 名称"
        }
        Field::FirstName => {
            "firstname first givenname forename fname vorname prenom primernombre voornaam fornamn fornavn etunimi \
             imie"
        }
        Field::LastName => {
            "lastname last surname familyname lname nachname familienname nomdefamille apellido apellidos cognome \
             sobrenome achternaam efternamn etternavn sukunimi nazwisko"
        }
        Field::Email => {
            "email emailaddress mail mailaddress contactemail workemail personalemail primaryemail email1 email1value \
             courriel adresseemail correo correoelectronico emailadresse eposta epost sahkoposti почта 邮箱 メール メールアドレス"
        }
        Field::Timezone => {
            "timezone tz timezonename timezoneid ianatimezone tzname zeitzone fuseauhoraire zonahoraria fusohorario \
             fusoorario tijdzone tidszon часовойпояс 时区 タイムゾーン"
        }
        Field::PreferredTime => {
            "preferredtime preferredcalltime preferredcallingtime besttimetocall calltime bestcalltime bevorzugtezeit \
             wunschzeit heurepreferee horapreferida"
        }
        Field::ExternalId => {
            "externalid externalref externalreference extid customerid contactid crmid customernumber kundennummer \
             numeroclient"
        }
        Field::Region => {
            "country countrycode phoneregion phonecountry isocountry isocountrycode countryiso countryname region \
             land landescode pays pais paese maa страна 国家 国"
        }
        Field::State => {
            "state stateprovince province stateorprovince statecode provincia provincie bundesland estado kanton \
             voivodeship wojewodztwo prefecture 都道府県 省 область"
        }
        Field::PostalCode => {
            "zip zipcode postalcode postcode postal zippostalcode plz postleitzahl codepostal codigopostal cep cap \
             postnummer postinumero kodpocztowy индекс 邮编 郵便番号"
        }
    };
    words.split_whitespace()
}

const PHONE: &str = "phone phonenumber telephone telephonenumber telnumber tel telno phoneno phonenr contactphone contactphonenumber \
 contactnumber primaryphone primaryphonenumber mainphone customerphone customerphonenumber phone1 phone1value e164 \
 msisdn telefon telefonnummer telefonnr rufnummer fon numerodetelephone numtelephone notelephone numerotelephone \
 telefono numerodetelefono numerotelefono telefone numerodetelefone telefoon telefoonnummer telefonnumer \
 numertelefonu puhelin puhelinnumero телефон номертелефона 电话 電話 电话号码 電話番号 전화번호 هاتف mobile mobilephone mobilenumber \
 mobilephonenumber mobileno mobiletel cell cellphone cellnumber cellphonenumber cellular handy handynummer mobil \
 mobilnummer mobiltelefon movil celular portable telephoneportable cellulare gsm 手机 手机号 携帯電話 officephone workphone \
 businessphone daytimephone dayphone workphonenumber officephonenumber homephone homephonenumber eveningphone \
 landline festnetz phone2";

/// Words of a longer header that make it a phone column, such as `Customer Phone #` or `Phone (daytime)`.
pub(super) const PHONE_WORDS: &str = "phone telephone tel mobile cell cellphone telefon telefono handy";

/// Words that make a header something about a phone, and not the number.
pub(super) const NOT_PHONE_WORDS: &str = "type label ext extension carrier country code prefix status verified consent ok valid date time notes note id plan \
 model brand calls count last opt optin optout alt alternate emergency bill cost tower area preference preferred \
 hours";
